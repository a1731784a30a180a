"""Quality and rate: PSNR, SSIM, seams, and the bits of a fitted signal."""

from partinr.metrics.quality import EXACT_DB, SEAM, mean_psnr, mse, psnr, seam, ssim

__all__ = ["EXACT_DB", "SEAM", "mean_psnr", "mse", "psnr", "seam", "ssim"]

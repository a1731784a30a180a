"""Quality and rate: PSNR, SSIM, seams, and what a fitted signal takes in bits."""

from partinr.metrics.quality import *

"""Files of volumes: NIfTI, and stacks in TIFF."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from partinr.base.errors import PartinrError
from partinr.base.files import replacing
from partinr.base.later import of_extra

_PLAIN_BYTES = 2**31
"""Bytes of samples up to which a stack is one of ImageJ's, which keeps the spacing."""


def write_nifti(path: Path, values: NDArray[np.float32], affine: NDArray[np.float64]) -> None:
    """Write a volume as NIfTI, compressed if the name ends in ``.gz``.

    Args:
        path: the file.
        values: float32 ``[D, H, W, C]`` in physical units; more than one channel are a fourth axis.
        affine: from the number of a sample along each axis to its place in mm, ``[4, 4]``.

    Raises:
        PartinrError: nibabel is not installed.
        OSError: the file cannot be written; an existing one stays unchanged.
    """
    nibabel = of_extra("nibabel", "volume", "NIfTI files are written")
    image = nibabel.Nifti1Image(values[..., 0] if values.shape[3] == 1 else values, affine)
    image.header.set_xyzt_units("mm")
    with replacing(path) as file:
        if path.suffix.lower() != ".gz":
            image.to_stream(file)
            return
        # Equal volumes are equal files, so without a time.
        with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=3, mtime=0) as packed:
            image.to_stream(packed)


def write_stack(path: Path, values: NDArray[np.float32], spacing: tuple[float, ...]) -> None:
    """Write a volume as the pages of a TIFF.

    Args:
        path: the file.
        values: float32 ``[D, H, W, C]`` in physical units.
        spacing: distance of samples along each axis, in mm.

    Raises:
        PartinrError: ImageJ's stacks cannot hold it.
        OSError: the file cannot be written; an existing one stays unchanged.
    """
    import tifffile  # slow to import

    if values.nbytes > _PLAIN_BYTES:
        raise PartinrError(f"{path} would take {values.nbytes / 1e9:.1f} GB, more than a stack holds; write a .nii.gz")
    depth, down, across = spacing
    with replacing(path) as file, tifffile.TiffWriter(file, imagej=True) as tiff:
        tiff.write(
            np.moveaxis(values, 3, 1),
            resolution=(1 / across, 1 / down),
            metadata={"axes": "ZCYX", "spacing": depth, "unit": "mm"},
            software="partinr",
        )

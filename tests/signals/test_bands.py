"""Images of any number of channels, and transparency as one of them."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from partinr.base.errors import PartinrError
from partinr.signals import check_image, load_image
from tests.covering import covering

RNG = np.random.default_rng(0)


def samples(channels: int, dtype: str) -> np.ndarray:
    values = RNG.random((6, 7, channels))
    return values.astype(dtype) if dtype == "float32" else (values * np.iinfo(dtype).max).astype(dtype)


def unit(array: np.ndarray) -> torch.Tensor:
    peak = np.iinfo(array.dtype).max if array.dtype.kind == "u" else 1
    return torch.from_numpy(array.astype(np.float32) / np.float32(peak))


@covering(
    12,
    channels=[2, 3, 4, 5, 12],
    dtype=["uint8", "uint16", "float32"],
    planes=["contig", "separate"],
    compression=[None, "zlib"],
)
def test_a_multispectral_tiff(channels: int, dtype: str, planes: Any, compression: Any, tmp_path: Path) -> None:
    array = samples(channels, dtype)
    stored = array if planes == "contig" else np.moveaxis(array, -1, 0)
    options: dict[str, Any] = {"photometric": "minisblack", "planarconfig": planes, "compression": compression}
    tifffile.imwrite(tmp_path / "x.tif", stored, metadata=None, **options)
    assert torch.equal(load_image(tmp_path / "x.tif"), unit(array))


@covering(channels=[1, 2, 3, 4, 5], dtype=["uint8", "uint16", "float32"])
def test_an_array(channels: int, dtype: str, tmp_path: Path) -> None:
    array = samples(channels, dtype)
    np.save(tmp_path / "x.npy", array if channels > 1 else array[..., 0])
    assert torch.equal(load_image(tmp_path / "x.npy"), unit(array))
    assert load_image(tmp_path / "x.npy", size=4).shape == (4, 4, channels)
    assert torch.equal(check_image(unit(array)), unit(array))


def test_transparency_is_a_channel_if_asked(tmp_path: Path) -> None:
    for mode, channels in (("RGBA", 4), ("LA", 2)):
        array = samples(channels, "uint8")
        Image.fromarray(array).save(tmp_path / "x.png")
        assert load_image(tmp_path / "x.png", alpha="channel").shape[2] == channels, mode
        assert torch.equal(load_image(tmp_path / "x.png", alpha="channel"), unit(array))
        with pytest.raises(PartinrError, match=r"transparent in places; .*data.alpha=white, black, drop or channel"):
            load_image(tmp_path / "x.png")
        with pytest.raises(PartinrError, match="channels=grey is for images of one or three channels, not of"):
            load_image(tmp_path / "x.png", alpha="channel", channels="grey")


def test_arrays_and_files_that_are_no_such_image(tmp_path: Path) -> None:
    for shape, dtype, said in [
        ((2, 3, 4, 5), "float32", "data=volume fits volumes"),
        ((3, 8, 9), "float32", "the channels go last"),
        ((4, 5), "int64", "holds int64 values; save uint8"),
        ((0, 5), "uint8", "not that of an image"),
    ]:
        np.save(tmp_path / "x.npy", np.zeros(shape, dtype))
        with pytest.raises(PartinrError, match=said):
            load_image(tmp_path / "x.npy")
    np.save(tmp_path / "x.npy", np.full((4, 5), 2.0))
    with pytest.raises(PartinrError, match="must stay in"):
        load_image(tmp_path / "x.npy")
    packed = BytesIO()
    tifffile.imwrite(packed, samples(5, "uint8"), photometric="minisblack", planarconfig="contig", metadata=None)
    # LZW is the number 5 of tag 259, in place of none.
    tag = np.array([259, 3], "<u2").tobytes() + np.array([1, 1], "<u4").tobytes()
    assert tag in packed.getvalue()
    (tmp_path / "x.tif").write_bytes(packed.getvalue().replace(tag, tag[:8] + b"\5\0\0\0"))
    with pytest.raises(PartinrError, match=r"compression .*; save it without one, or with deflate"):
        load_image(tmp_path / "x.tif")

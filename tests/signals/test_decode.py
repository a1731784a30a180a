"""Files in, samples out: every format, depth and mode, against arrays that the files were made from."""

from __future__ import annotations

import contextlib
import os
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from partinr.base.errors import PartinrError
from partinr.signals import load_image, userfile
from tests.covering import covering

HEIGHT, WIDTH = 5, 7
RNG = np.random.default_rng(0)


def samples(channels: int, dtype: str) -> np.ndarray:
    if dtype.startswith("float"):
        return RNG.random((HEIGHT, WIDTH, channels)).astype(dtype)
    return RNG.integers(0, np.iinfo(dtype).max + 1, (HEIGHT, WIDTH, channels), dtype=dtype)


def unit(array: np.ndarray) -> torch.Tensor:
    peak = np.iinfo(array.dtype).max if array.dtype.kind == "u" else 1
    return torch.from_numpy(array.astype(np.float32) / np.float32(peak))


WHOLE = ((0, 0, 1, 1),)
ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


def png(
    array: np.ndarray,
    colour_type: int,
    depth: int,
    chunks: tuple[tuple[bytes, bytes], ...] = (),
    passes: tuple[tuple[int, int, int, int], ...] = WHOLE,
) -> bytes:
    """A PNG by the book, since no library writes all of them; from ``[H, W, C]``, or from rows of packed bytes."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height = array.shape[0]
    width = array.shape[1] if array.ndim == 3 else array.shape[1] * 8 // depth
    samples = array.astype(array.dtype.newbyteorder(">"))
    rows = [row for y, x, down, right in passes for row in samples[y::down, x::right] if row.size]
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, passes is ADAM7)
    parts = ((b"IHDR", header), *chunks, (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def tiff(array: np.ndarray, **options: Any) -> bytes:
    buffer = BytesIO()
    plain = array[:, :, 0] if array.shape[2] == 1 else array
    photometric = options.pop("photometric", "rgb" if array.shape[2] > 2 else "minisblack")
    tifffile.imwrite(buffer, plain, photometric=photometric, metadata=None, **options)
    return buffer.getvalue()


def pillow(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture
def load(tmp_path):
    """`load_image` of the bytes of a file, whose name says nothing about its format."""

    def load_bytes(content: bytes, **options: Any) -> torch.Tensor:
        path = tmp_path / "picture"
        path.write_bytes(content)
        image = load_image(path, **options)
        assert image.dtype == torch.float32
        assert image.ndim == 3
        assert image.is_contiguous()
        assert image.shape[2] in (1, 3)
        return image

    return load_bytes


@covering(6, kind=["PNG", "TIFF", "BMP", "WEBP"], channels=[1, 3])
def test_8_bit(load, kind, channels):
    array = samples(channels, "uint8")
    if kind == "WEBP" and channels == 1:
        array = array.repeat(3, axis=2)  # WebP has no grey.
    options = {"lossless": True} if kind == "WEBP" else {}
    assert torch.equal(load(pillow(Image.fromarray(array.squeeze()), kind, **options)), unit(array))


def test_8_bit_compressed_tiff(load):
    for compression in ["tiff_lzw", "tiff_adobe_deflate", "packbits"]:
        array = samples(3, "uint8")
        assert torch.equal(load(pillow(Image.fromarray(array), "TIFF", compression=compression)), unit(array))


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg(load, channels):
    ramp = np.linspace(40, 210, 64 * 48).reshape(48, 64)
    array = np.stack([ramp, ramp[::-1], 250 - ramp], axis=2)[:, :, :channels].astype(np.uint8)
    image = load(pillow(Image.fromarray(array.squeeze()), "JPEG", quality=98, subsampling=0))
    assert image.shape == (48, 64, channels)
    assert (image - unit(array)).abs().max() < 0.03


def test_colours_are_red_green_blue(load):
    array = np.zeros((4, 4, 3), np.uint8)
    array[:, :, 0], array[:, :, 1] = 200, 100
    deep = array.astype(np.uint16) * 257
    files = [pillow(Image.fromarray(array), kind) for kind in ("PNG", "JPEG", "TIFF", "BMP")]
    files += [pillow(Image.fromarray(array), "WEBP", lossless=True), png(deep, 2, 16), tiff(deep)]
    for content in files:
        red, green, blue = load(content).mean(dim=(0, 1))
        assert red > green > blue, content[:12]


@pytest.mark.parametrize(("colour_type", "channels"), [(0, 1), (2, 3)])
def test_16_bit_png_keeps_all_bits(load, colour_type, channels):
    array = samples(channels, "uint16")
    image = load(png(array, colour_type, 16))
    assert np.array_equal((image.double() * 65535).round().numpy(), array)


@covering(
    8,
    options=[{}, {"byteorder": ">"}, {"tile": (16, 16)}, {"compression": "zlib"}, {"bigtiff": True}],
    dtype=["uint16", "float32", "float64"],
    channels=[1, 3],
)
def test_deep_tiff(load, dtype, channels, options):
    array = samples(channels, dtype)
    assert torch.equal(load(tiff(array, **options)), unit(array))


def test_interlaced_png(load):
    for dtype, depth in (("uint8", 8), ("uint16", 16)):
        array = samples(3, dtype)
        assert torch.equal(load(png(array, 2, depth, passes=ADAM7)), unit(array))


def test_deep_tiff_with_lzw(load):
    array = samples(3, "uint16")
    _, content = cv2.imencode(".tiff", array[:, :, ::-1], [cv2.IMWRITE_TIFF_COMPRESSION, 5])
    assert torch.equal(load(content.tobytes()), unit(array))


def test_white_is_zero(load):
    array = samples(1, "uint16")
    assert torch.equal(load(tiff(array, photometric="miniswhite")), unit(65535 - array))


def test_low_bit_grey(load):
    for depth in [1, 2, 4]:
        array = RNG.integers(0, 2**depth, (3, 16), dtype=np.uint8)
        packed = np.packbits(np.unpackbits(array[:, :, None], axis=2)[:, :, -depth:].reshape(3, -1), axis=1)
        expected = torch.from_numpy(array.astype(np.float32) / (2**depth - 1))[:, :, None]
        torch.testing.assert_close(load(png(packed, 0, depth)), expected, atol=1e-6, rtol=0)


def test_1_bit(load):
    for kind in ["PNG", "TIFF", "BMP"]:
        array = RNG.random((HEIGHT, WIDTH)) > 0.5
        assert torch.equal(load(pillow(Image.fromarray(array), kind))[:, :, 0], torch.from_numpy(array).float())


def test_palette_becomes_rgb(load):
    for kind in ["PNG", "TIFF", "BMP"]:
        indexed = Image.fromarray(samples(1, "uint8")[:, :, 0] % 4)
        indexed.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 10, 20, 30])
        assert torch.equal(load(pillow(indexed, kind)), unit(np.asarray(indexed.convert("RGB"))))


def test_ycbcr_tiff(load):
    grey = Image.fromarray(samples(1, "uint8").repeat(3, axis=2))
    image = load(pillow(grey.convert("YCbCr"), "TIFF"))
    assert (image - unit(np.asarray(grey))).abs().max() < 0.02


def with_alpha(kind: str, channels: int, dtype: str) -> tuple[np.ndarray, bytes]:
    array = samples(channels, dtype)
    if kind == "PNG":
        return array, png(array, {2: 4, 4: 6}[channels], np.iinfo(dtype).bits)
    if kind == "WEBP":
        return array, pillow(Image.fromarray(array), "WEBP", lossless=True, exact=True)
    return array, tiff(array, extrasamples=["unassalpha"])


ALPHA_FILES = [
    ("PNG", 2, "uint8"), ("PNG", 4, "uint8"), ("PNG", 2, "uint16"), ("PNG", 4, "uint16"), ("WEBP", 4, "uint8"),
    ("TIFF", 2, "uint8"), ("TIFF", 4, "uint8"), ("TIFF", 4, "uint16"), ("TIFF", 4, "float32"),
]  # fmt: skip


def test_alpha(load):
    for kind, channels, dtype in ALPHA_FILES:
        array, content = with_alpha(kind, channels, dtype)
        colour, opacity = unit(array)[:, :, :-1], unit(array)[:, :, -1:]
        with pytest.raises(PartinrError, match=r"data\.alpha=white"):
            load(content)
        torch.testing.assert_close(load(content, alpha="drop"), colour, atol=1e-6, rtol=0)
        torch.testing.assert_close(load(content, alpha="black"), colour * opacity, atol=1e-6, rtol=0)
        torch.testing.assert_close(load(content, alpha="white"), colour * opacity + 1 - opacity, atol=1e-6, rtol=0)


@covering(dtype=["uint8", "uint16"], channels=[2, 4])
def test_opaque_alpha_is_dropped(load, channels, dtype):
    array = samples(channels, dtype)
    array[:, :, -1] = np.iinfo(dtype).max
    content = png(array, {2: 4, 4: 6}[channels], np.iinfo(dtype).bits)
    assert torch.equal(load(content), unit(array[:, :, :-1]))


def test_premultiplied_alpha(load):
    for dtype in ["uint8", "uint16", "float32"]:
        array = samples(4, dtype)
        peak = 1 if dtype == "float32" else np.iinfo(dtype).max
        array[:, :, 3] = array[:, :, 3] // 2 + peak // 2 if peak > 1 else array[:, :, 3] / 2 + 0.5
        array[:, :, :3] = np.minimum(array[:, :, :3], array[:, :, 3:])
        content = tiff(array, extrasamples=["assocalpha"])
        # Multiplied by alpha is what black shows through.
        torch.testing.assert_close(load(content, alpha="black"), unit(array[:, :, :3]), atol=1.5 / 255, rtol=0)
        assert load(content, alpha="drop").max() <= 1


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_extra_channel_without_a_meaning_is_no_alpha(load, dtype):
    array = samples(4, dtype)
    assert torch.equal(load(tiff(array, extrasamples=["unspecified"])), unit(array[:, :, :3]))


def test_palette_transparency(load):
    indexed = Image.fromarray(np.arange(4, dtype=np.uint8).reshape(2, 2))
    indexed.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 10, 20, 30])
    content = pillow(indexed, "PNG", transparency=1)
    with pytest.raises(PartinrError, match="transparent"):
        load(content)
    image = load(content, alpha="white")
    assert image[0, 1].tolist() == [1, 1, 1]
    assert image[0, 0].tolist() == [1, 0, 0]


def test_transparent_colour_of_a_png(load):
    for colour_type, depth in [(0, 1), (0, 2), (0, 4), (0, 8), (0, 16), (2, 8), (2, 16)]:
        if depth < 8:
            # Values 0, 1, 0, 1, … of `depth` bits.
            array = np.full((1, 2), sum(1 << shift for shift in range(0, 8, 2 * depth)), np.uint8)
            key: tuple[int, ...] = (1,)
        else:
            array = samples(1 if colour_type == 0 else 3, f"uint{depth}")
            key = tuple(int(value) for value in array[2, 1])
        content = png(array, colour_type, depth, ((b"tRNS", struct.pack(f">{len(key)}H", *key)),))
        marked = load(content, alpha="black") != load(content, alpha="drop")
        if depth < 8:
            assert marked[:, 1::2].all()
            assert not marked[:, ::2].any()
        else:
            assert marked[2, 1].any()
            assert marked.any(dim=2).sum() == int((array == np.array(key)).all(axis=2).sum())


# How a viewer shows stored rows 0.. and columns 0.. for each orientation (EXIF 2.3, tag 0x0112).
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a.swapaxes(0, 1), 2),
    8: lambda a: np.rot90(a, 1),
}


@covering(14, orientation=range(1, 9), kind=["JPEG", "PNG", "PNG16", "WEBP", "TIFF", "TIFF16"])
def test_orientation(load, kind, orientation):
    array = np.zeros((16, 24, 3), np.uint8)
    array[:8, :8], array[:8, 16:], array[8:, :8] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    exif = Image.Exif()
    exif[0x0112] = orientation
    if kind == "PNG16":
        content = png(array.astype(np.uint16) * 257, 2, 16, ((b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")),))
    elif kind.startswith("TIFF"):
        deep = array.astype(np.uint16) * 257 if kind == "TIFF16" else array
        content = tiff(deep, extratags=[(0x0112, "H", 1, orientation, True)])
    else:
        lossless = {"lossless": True} if kind == "WEBP" else {}
        options: dict[str, Any] = {"quality": 100, "subsampling": 0} if kind == "JPEG" else lossless
        content = pillow(Image.fromarray(array), kind, exif=exif, **options)
    expected = unit(UPRIGHT[orientation](array).copy())
    torch.testing.assert_close(load(content), expected, atol=0.02, rtol=0)


def test_damaged_exif_does_not_hide_the_picture(load):
    array = samples(3, "uint8")
    image = load(pillow(Image.fromarray(array), "PNG", exif=b"Exif\0\0no such thing"))
    assert torch.equal(image, unit(array))


def test_photograph_of_a_multi_picture_jpeg(load):
    first, second = Image.new("RGB", (8, 6), (200, 0, 0)), Image.new("RGB", (8, 6), (0, 0, 200))
    image = load(pillow(first, "MPO", save_all=True, append_images=[second]))
    assert image[:, :, 0].mean() > 0.7 > image[:, :, 2].mean()


# ---------------------------------------------------------------------------------------------------------------------
# Errors


def refusal(path: str | Path, **options: Any) -> str:
    with pytest.raises(PartinrError) as caught:
        load_image(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert ";" in message, "no cure in: " + message
    return message


@pytest.fixture
def refuse(tmp_path, capfd):
    """The message with which the bytes of a file are refused; nothing else may be said, aloud or as a warning."""

    def refuse_bytes(content: bytes, **options: Any) -> str:
        path = tmp_path / "picture"
        path.write_bytes(content)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            message = refusal(path, **options)
        assert capfd.readouterr() == ("", "")
        assert str(path) in message
        return message

    return refuse_bytes


def test_no_such_file(tmp_path):
    (tmp_path / "Photo.png").touch()
    assert "did you mean 'Photo.png'?" in refusal(tmp_path / "foto.png")
    assert "check the path" in refusal(tmp_path / "1234567890")
    assert "folder" in refusal(tmp_path / "nowhere" / "photo.png")
    assert "no such file" in refusal(tmp_path / "Photo.png" / "x.png")
    assert "no such file" in refusal("a\0b.png")
    assert str(Path.cwd()) in refusal("no such picture, 1234567890")
    assert "empty" in refusal("")


def test_message_stays_on_one_line_whatever_the_name(tmp_path):
    assert "no such file" in refusal(tmp_path / "two\nlines.png")


def test_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    Image.new("L", (3, 2)).save(tmp_path / "mine.png")
    assert load_image("~/mine.png").shape == (2, 3, 1)


def test_folder(tmp_path):
    assert "is a folder" in refusal(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_pipe_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in refusal(tmp_path / "pipe")


@pytest.mark.parametrize(
    ("error", "words"), [(PermissionError(13, "denied"), "permission"), (OSError(5, "I/O error"), "I/O error")]
)
def test_unreadable(tmp_path, monkeypatch, error, words):
    def fail(*_: object) -> None:
        raise error

    # Permissions do not stop a test that runs as root.
    monkeypatch.setattr(userfile, "open", fail, raising=False)
    (tmp_path / "photo.png").touch()
    assert words in refusal(tmp_path / "photo.png")


def test_not_an_image(refuse):
    for content in (b"hello", b"%PDF-1.7 ....", b"RIFF\0\0\0\0WAVEfmt ", b"<svg/>"):
        assert "convert it to PNG" in refuse(content)
    assert "empty file" in refuse(b"")


def files() -> dict[str, bytes]:
    # Noise, so that a file cut short lacks pixels and not only its last bytes.
    deep = np.random.default_rng(1).integers(0, 65536, (32, 48, 3), dtype=np.uint16)
    shallow = deep.astype(np.uint8)
    image = Image.fromarray(shallow)
    return {
        **{kind: pillow(image, kind) for kind in ("PNG", "JPEG", "WEBP", "BMP", "TIFF")},
        "TIFF, LZW": pillow(image, "TIFF", compression="tiff_lzw"),
        "TIFF, JPEG": pillow(image, "TIFF", compression="jpeg"),
        "PNG, 16 bits": png(deep, 2, 16),
        "TIFF, 16 bits": tiff(deep),
        "TIFF, 16 bits, deflate": tiff(deep, compression="zlib"),
        "TIFF, float": tiff(unit(deep).numpy()),
    }


def test_truncated(refuse):
    for name in files():
        content = files()[name]
        for share in (0.1, 0.5, 0.9):
            message = refuse(content[: int(len(content) * share)])
            assert "damaged" in message
            assert name[:3].lower() in message.lower()


def test_corrupt(refuse):
    for name in ["PNG", "PNG, 16 bits", "TIFF, LZW", "TIFF, 16 bits, deflate"]:
        content = bytearray(files()[name])
        middle = len(content) // 2
        content[middle : middle + 40] = bytes(40)
        assert "damaged" in refuse(bytes(content))


def test_threads_leave_warnings_and_standard_error_as_they_were(tmp_path, capfd):
    content = files()
    for index, name in enumerate(("TIFF, LZW", "PNG, 16 bits", "TIFF, 16 bits")):
        (tmp_path / f"whole{index}").write_bytes(content[name])
        (tmp_path / f"half{index}").write_bytes(content[name][: len(content[name]) // 2])

    def load_some(path: Path) -> None:
        with contextlib.suppress(PartinrError):
            load_image(path)

    filters = list(warnings.filters)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(load_some, sorted(tmp_path.iterdir()) * 8))
    assert list(warnings.filters) == filters
    os.write(2, b"still here")
    assert capfd.readouterr().err == "still here"


def test_no_pixels(refuse):
    for height, width in ((0, 0), (0, 4), (4, 0)):
        assert "no pixels" in refuse(png(np.zeros((height, width, 3), np.uint8), 2, 8))


def bitmap_header(width: int, height: int) -> bytes:
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + info


@pytest.mark.parametrize("side", [12_000, 100_000])  # above our limit: where Pillow only warns, and where it refuses
def test_far_too_large(refuse, side):
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    png_start = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    large_tiff = bytearray(tiff(samples(1, "uint16")))
    for tag in (256, 257):
        entry = large_tiff.index(struct.pack("<HHI", tag, 4, 1))
        large_tiff[entry + 8 : entry + 12] = struct.pack("<I", side)
    for content in (png_start, bitmap_header(side, side), bytes(large_tiff)):
        message = refuse(content)
        assert "134,217,728" in message
        assert "shrink" in message


def test_several_pictures(refuse):
    frames = [Image.new("RGB", (4, 4), (shade, 0, 0)) for shade in (0, 100, 200)]
    for kind in ("PNG", "WEBP", "TIFF"):
        assert "3 pictures" in refuse(pillow(frames[0], kind, save_all=True, append_images=frames[1:]))
    deep = BytesIO()
    tifffile.imwrite(deep, RNG.random((2, 5, 4)).astype(np.float32), photometric="minisblack", metadata=None)
    assert "2 pictures" in refuse(deep.getvalue())


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk(refuse, kind):
    assert "RGB" in refuse(pillow(Image.new("CMYK", (4, 4)), kind))


def test_other_colour_spaces(refuse):
    assert "LAB" in refuse(pillow(Image.new("LAB", (4, 4)), "TIFF"))


def test_float_values_out_of_range(refuse):
    array = samples(3, "float32")
    array[1, 2, 0] = 255
    assert "to 255" in refuse(tiff(array))
    array[1, 2, 0] = np.nan
    assert "NaN" in refuse(tiff(array))


def test_sample_types_without_a_range(refuse):
    for dtype in ["uint32", "int16", "float16", "int8"]:
        assert dtype.strip("uintfloa") + "-bit" in refuse(tiff(np.ones((4, 4, 1), dtype)))
    packed = tiff(samples(1, "uint16")).replace(
        struct.pack("<HHIH", 258, 3, 1, 16), struct.pack("<HHIH", 258, 3, 1, 12)
    )
    assert "12-bit" in refuse(packed)


def test_deep_layouts_that_opencv_would_misread(refuse, load):
    array = samples(3, "uint16")
    planes = BytesIO()
    tifffile.imwrite(planes, np.moveaxis(array, 2, 0), photometric="rgb", planarconfig="separate", metadata=None)
    assert torch.equal(load(planes.getvalue()), unit(array))
    assert "2 channels" in refuse(tiff(samples(2, "uint16"), extrasamples=["unassalpha"]))

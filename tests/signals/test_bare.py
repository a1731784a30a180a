"""Metadata of any size, in any state, in any place: the picture is the same, and its faults are still found."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from partinr.base.errors import PartinrError
from partinr.signals.decode import decode

PICTURE = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
LARGE = 3_000_000
"""More bytes of a text or profile than Pillow accepts."""


def chunk(name: bytes, data: bytes, summed: bool = True) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(name + data)) if summed else b"abcd"
    return struct.pack(">I", len(data)) + name + data + checksum


def png(
    before: bytes = b"", after: bytes = b"", between: bytes = b"", depth: int = 8, end: bytes | None = None
) -> bytes:
    samples = PICTURE.astype(">u2") * 257 if depth == 16 else PICTURE
    pixels = zlib.compress(b"".join(b"\0" + row.tobytes() for row in samples))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 6, depth, 2, 0, 0, 0))
    parts = chunk(b"IDAT", pixels[:50]) + between + chunk(b"IDAT", pixels[50:])
    return b"\x89PNG\r\n\x1a\n" + header + before + parts + after + (chunk(b"IEND", b"") if end is None else end)


def segment(marker: int, data: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data


def jpeg(before: bytes = b"", **options: object) -> bytes:
    buffer = BytesIO()
    Image.fromarray(np.full((6, 8, 3), 100, np.uint8)).save(buffer, "JPEG", quality=95, **options)
    content = buffer.getvalue()
    return content[:2] + before + content[2:]


def webp(after: bytes = b"", flags: int = 0, cut: int | None = None) -> bytes:
    buffer = BytesIO()
    Image.fromarray(PICTURE).save(buffer, "WEBP", lossless=True, exact=True)
    extended = b"VP8X" + struct.pack("<IB", 10, flags) + bytes(3) + bytes([7, 0, 0, 5, 0, 0])
    body = b"WEBP" + extended + buffer.getvalue()[12:] + after
    return (b"RIFF" + struct.pack("<I", len(body)) + body)[:cut]


def tiff(depth: int = 8, tag: int | None = None, entry: bytes = b"", following: int = 0, **options: Any) -> bytes:
    """A TIFF in which the entry of a tag, or the pointer to a second page, is replaced."""
    buffer, samples = BytesIO(), PICTURE.astype(np.uint16) * 257 if depth == 16 else PICTURE
    tifffile.imwrite(buffer, samples, photometric="rgb", metadata=None, description="of me", **options)
    content = bytearray(buffer.getvalue())
    at = struct.unpack("<I", content[4:8])[0]
    end = at + 2 + 12 * struct.unpack("<H", content[at : at + 2])[0]
    for place in range(at + 2, end, 12):
        if struct.unpack("<H", content[place : place + 2])[0] == tag:
            content[place + 2 : place + 12] = entry
    content[end : end + 4] = struct.pack("<I", following)
    return bytes(content)


PACKED = zlib.compress(bytes(LARGE))
LONG = {
    b"iCCP": b"x\0\0" + PACKED,
    b"zTXt": b"k\0\0" + PACKED,
    b"iTXt": b"XML:com.adobe.xmp\0\1\0\0\0" + PACKED,
    b"eXIf": b"II*\0" + bytes(LARGE),
}
SHORT = [b"gAMA", b"cHRM", b"pHYs", b"bKGD", b"tRNS", b"PLTE", b"acTL", b"fcTL", b"prVt", b"iCCP"]
BEYOND = struct.pack("<HII", 2, 1000, 10**8)
"""An entry of a TIFF: 1000 bytes of text, far behind the end of the file."""

FILES = {
    **{f"PNG, large {name.decode()}": png(chunk(name, data)) for name, data in LONG.items()},
    **{f"PNG, large {name.decode()} at the end": png(after=chunk(name, data)) for name, data in LONG.items()},
    **{f"PNG, wrong sum of {name.decode()}": png(chunk(name, b"x\0\0", summed=False)) for name in LONG},
    **{f"PNG, short {name.decode()}": png(chunk(name, b"\0")) for name in SHORT},
    "PNG, much text": png(b"".join(chunk(b"tEXt", b"k%d\0" % k + bytes(10**7)) for k in range(7))),
    "PNG, text between the pixels": png(between=chunk(b"tEXt", b"k\0v")),
    "PNG, rest lost": png(after=chunk(b"tEXt", b"k\0" + bytes(99))[:40], end=b""),
    "PNG of 16 bits, large profile": png(chunk(b"iCCP", LONG[b"iCCP"]), depth=16),
    "JPEG, large profile": jpeg(b"".join(segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(65_000)) for _ in range(50))),
    "JPEG, short JFIF": jpeg(segment(0xE0, b"JFIF\0")),
    "JPEG, short Adobe": jpeg(segment(0xEE, b"Adobe")),
    "JPEG, damaged list of pictures": jpeg(segment(0xE2, b"MPF\0II*\0\x08\0\0\0\xff\xff" + bytes(99))),
    "JPEG, damaged Photoshop": jpeg(segment(0xED, b"Photoshop 3.0\x008BIM\0\1")),
    "JPEG, damaged EXIF": jpeg(segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + bytes(99))),
    "JPEG, bytes between": jpeg(segment(0xFE, b"") + b"\xff\xff\0\0more"),
    "WebP, large profile": webp(b"ICCP" + struct.pack("<I", LARGE) + bytes(LARGE), flags=0x20),
    "WebP, EXIF cut off": webp(b"EXIF" + struct.pack("<I", 99) + bytes(99), flags=8, cut=-50),
    "WebP, flags of what is not there": webp(flags=0x2C),
    **{f"TIFF of {n}, text beyond the end": tiff(n, 270, BEYOND) for n in (8, 16)},
    **{f"TIFF of {n}, second page beyond the end": tiff(n, following=10**8) for n in (8, 16)},
    **{f"TIFF of {n}, second page is the first": tiff(n, following=8) for n in (8, 16)},
    "TIFF, resolution that is text": tiff(tag=282, entry=struct.pack("<HII", 2, 4, 8)),
    "TIFF, large profile": tiff(iccprofile=bytes(LARGE), compression="zlib"),
    "BigTIFF": tiff(bigtiff=True),
}


@pytest.mark.parametrize("kind", FILES)
def test_metadata_does_not_change_the_picture(tmp_path: Path, kind: str) -> None:
    (tmp_path / "picture").write_bytes(FILES[kind])
    samples = decode(tmp_path / "picture")
    expected = np.full_like(PICTURE, 100) if kind.startswith("JPEG") else PICTURE
    assert np.array_equal(samples // 257 if samples.dtype == np.uint16 else samples, expected)


XMP = b'<rdf:Description tiff:Orientation="6"/>'
EXIF = b"II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0"
PROFILE = b"\nexif\n%d\n" % len(EXIF) + EXIF.hex().encode()


def test_the_orientation_is_found_wherever_it_stands(tmp_path: Path) -> None:
    for place in (
        chunk(b"eXIf", EXIF, summed=False),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(bytes(LARGE) + XMP)),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP),
        chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(PROFILE)),
        chunk(b"tEXt", b"Raw profile type exif\0" + PROFILE),
    ):
        for content in (png(place), png(after=place), png(place, depth=16)):
            (tmp_path / "picture").write_bytes(content)
            samples = decode(tmp_path / "picture")
            assert samples.shape == (8, 6, 3)
            assert np.array_equal(samples >> (8 if samples.dtype == np.uint16 else 0), np.rot90(PICTURE, -1))


def test_faults_of_the_picture_are_found(tmp_path: Path) -> None:
    pixels = png()
    for content in (pixels[:60] + b"damage" + pixels[66:], pixels[:-60], png(chunk(b"acTL", struct.pack(">II", 2, 0)))):
        (tmp_path / "picture").write_bytes(content)
        with pytest.raises(PartinrError, match=r"is a damaged or unusual PNG|holds 3 pictures"):
            decode(tmp_path / "picture")


def test_a_gif_of_one_picture(tmp_path: Path) -> None:
    pictures = [Image.fromarray(np.full((4, 6, 3), (level, 0, 200), dtype=np.uint8)) for level in (10, 250)]
    pictures[0].save(tmp_path / "one.gif")
    assert (decode(tmp_path / "one.gif") == np.asarray(pictures[0])).all()
    pictures[0].save(tmp_path / "two.gif", save_all=True, append_images=pictures[1:])
    with pytest.raises(PartinrError, match=r"two.gif' holds 2 pictures \(an animation"):
        decode(tmp_path / "two.gif")

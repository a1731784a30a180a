"""Removes metadata that does not change the picture: colour profiles, comments, thumbnails, dates.

Viewers skip metadata that they do not know, that is huge or that is damaged. Pillow refuses such files: it limits the
size of profiles and texts, checks the sums of all chunks, and unpacks unused data. The decoders therefore get a copy of
the file with only the picture, its transparency and its orientation.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Literal

_TEXT = 2**26
"""Limit of unpacked bytes of a compressed text, to find an orientation in it."""

_XMP, _EXIF = b"XML:com.adobe.xmp", b"Raw profile type exif"
"""Keywords of PNG's texts that may hold the orientation; ImageMagick writes the second."""

_TRANSPARENCY = {0: 2, 2: 6, 3: 1}
"""Least length of a PNG's tRNS for each colour type that may have one; decoders ignore a shorter one."""


def bare_png(stream: BinaryIO) -> tuple[bytes, int]:
    """A PNG without metadata, and the number of pictures in it.

    A wrong checksum of picture data is kept, so that the decoder finds it; others are corrected.

    Args:
        stream: a PNG whose header is sound.
    """
    header, palette, pixels = b"", b"", []
    metadata: dict[bytes, bytes] = {}
    frames, first_is_frame = 0, False
    for name, data, raw in _png_chunks(stream):
        if name == b"IHDR":
            header = header or raw
        elif name == b"PLTE":
            palette = palette or (raw if header[17] == 3 else b"")
        elif name == b"IDAT":
            pixels.append(raw)
        elif name == b"acTL":
            frames = int.from_bytes(data[:4], "big") if len(data) >= 8 else 0
        elif name == b"fcTL":
            first_is_frame = first_is_frame or not pixels
        elif name == b"tRNS":
            needed = _TRANSPARENCY.get(header[17])
            if needed is not None and len(data) >= needed and not pixels:
                metadata[name] = data
        elif name == b"eXIf":
            metadata[name] = data
        elif (text := _text(name, data)) is not None:
            metadata.setdefault(*text)
    kept = [
        struct.pack(">I", len(data)) + _summed(name + data) for name, data in sorted(metadata.items(), reverse=True)
    ]
    content = b"".join([b"\x89PNG\r\n\x1a\n", header, palette, *kept, *pixels, struct.pack(">I", 0), _summed(b"IEND")])
    return content, max(1, frames + (not first_is_frame)) if frames else 1


def _png_chunks(stream: BinaryIO) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Name, data and full bytes of each relevant chunk, up to the end of the picture."""
    wanted = {b"IHDR", b"PLTE", b"IDAT", b"acTL", b"fcTL", b"tRNS", b"eXIf", b"tEXt", b"zTXt", b"iTXt"}
    size = stream.seek(0, 2)
    stream.seek(8)
    while len(head := stream.read(8)) == 8 and head[4:].isalpha() and head[4:] != b"IEND":
        length = min(int.from_bytes(head[:4], "big") + 4, size - stream.tell())
        if head[4:] in wanted:
            rest = stream.read(length)
            yield head[4:], rest[:-4], head + rest
        else:
            stream.seek(length, 1)


def _text(name: bytes, chunk: bytes) -> tuple[bytes, bytes] | None:
    """A text that may hold the orientation, as a chunk that Pillow reads it from: its name and data."""
    key, _, text = chunk.partition(b"\0")
    if key not in (_XMP, _EXIF):
        return None
    packed = text[:1] == b"\1" if name == b"iTXt" else name == b"zTXt"
    text = text[2:].split(b"\0", 2)[-1] if name == b"iTXt" else text[name == b"zTXt" :]
    try:
        text = zlib.decompressobj().decompress(text, _TEXT) if packed else text
        if key == _XMP:
            return b"iTXt", key + b"\0\0\0\0\0" + text
        return b"eXIf", bytes.fromhex("".join(text.decode("latin-1").split("\n")[3:])).removeprefix(b"Exif\0\0")
    except (zlib.error, ValueError):  # damaged; the pixels are good
        return None


def _summed(content: bytes) -> bytes:
    return content + struct.pack(">I", zlib.crc32(content))


def bare_jpeg(stream: BinaryIO) -> tuple[bytes, int]:
    """A JPEG without metadata except EXIF and XMP and without bytes between its segments; and 1.

    Many phones write a photograph, followed by previews or a depth map: the photograph is the picture.
    """
    stream.seek(0)
    content = stream.read()
    kept, at = [content[:2]], 2
    while (at := content.find(b"\xff", at)) >= 0:
        marker = content[at + 1 : at + 2]
        if marker in (b"\0", b"\xff"):  # padding
            at += 1
            continue
        length = int.from_bytes(content[at + 2 : at + 4], "big")
        if marker == b"\xda" or length < 2:  # the picture begins, or there is nothing that can be skipped
            break
        segment = content[at : at + 2 + length]
        if _is_picture(segment):
            kept.append(segment)
        at += 2 + length
    return b"".join([*kept, content[at:] if at >= 0 else b""]), 1


def _is_picture(segment: bytes) -> bool:
    """Whether a segment of a JPEG affects the picture: valid JFIF, EXIF, XMP, Adobe, all except APPn and COM."""
    data = segment[4:]
    if segment[1] == 0xE0:
        return data.startswith(b"JFIF\0") and len(data) >= 14
    if segment[1] == 0xEE:
        return data.startswith(b"Adobe") and len(data) >= 12
    return segment[1] == 0xE1 or not (0xE2 <= segment[1] <= 0xEF or segment[1] == 0xFE)


def bare_webp(stream: BinaryIO) -> tuple[bytes, int]:
    """A WebP without colour profile and unknown chunks, up to the last complete chunk; and its number of pictures."""
    stream.seek(12)
    chunks: dict[bytes, bytes] = {}
    parts, frames = [], 0
    while len(head := stream.read(8)) == 8:
        frames += head[:4] == b"ANMF"
        length = int.from_bytes(head[4:], "little")
        data = stream.read(length + length % 2)
        picture = head[:4] in (b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF")
        if len(data) < length and not picture:
            break
        if picture or head[:4] in (b"EXIF", b"XMP "):
            chunks[head[:4]] = data
            parts.append((head, data))
    flags = 0x08 * (b"EXIF" in chunks) | 0x04 * (b"XMP " in chunks)
    body = b"WEBP"
    for head, data in parts:
        if head[:4] == b"VP8X" and data:
            data = bytes([data[0] & ~0x2C | flags]) + data[1:]
        body += head + data
    return b"RIFF" + struct.pack("<I", len(body)) + body, max(1, frames)


_TIFF_TAGS = {*range(254, 260), 262, 266, 273, 274, 277, 278, 279, 284, 292, 293, 317, *range(320, 326), 332, 338, 339}
_TIFF_TAGS |= {347, *range(512, 522), *range(529, 533)}
"""The tags of TIFF 6.0 and its supplements for the storage and display of pixels."""


def bare_tiff(stream: BinaryIO) -> tuple[bytes, int]:
    """A TIFF with only the first page and without metadata, and the original number of pages.

    Args:
        stream: a TIFF or BigTIFF; one whose first page cannot be found is given back as it is.
    """
    stream.seek(0)
    prefix = stream.read(16)
    order: Literal["little", "big"] = "little" if prefix[:1] == b"I" else "big"
    # Sizes in bytes of the number of entries, an entry, and an offset.
    number, entry, offset = (8, 20, 8) if 43 in prefix[2:4] else (2, 12, 4)
    page = int.from_bytes(prefix[8:16] if offset == 8 else prefix[4:8], order)
    pages: list[int] = []
    kept: list[bytes] = []
    while page and page not in pages:
        stream.seek(page)
        entries = [stream.read(entry) for _ in range(min(int.from_bytes(stream.read(number), order), 2**16))]
        tags = {int.from_bytes(each[:2], order): each for each in entries if len(each) == entry}
        if not {256, 257} <= tags.keys():  # the pointer is damaged, and the pages before are good
            break
        kept = kept or [each for tag, each in tags.items() if tag in _TIFF_TAGS]
        pages.append(page)
        page = int.from_bytes(stream.read(offset), order)
    stream.seek(0)
    content = bytearray(stream.read()) if len(pages) < 2 else bytearray()
    if kept and content:
        directory = len(kept).to_bytes(number, order) + b"".join(kept) + bytes(offset)
        content[pages[0] : pages[0] + len(directory)] = directory
    return bytes(content), len(pages)


BARE = {"PNG": bare_png, "JPEG": bare_jpeg, "WebP": bare_webp, "TIFF": bare_tiff}
"""For each format with metadata: from a file to its bare copy, and the number of pictures in the file."""

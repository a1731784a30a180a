r"""Handles text and names from users: any bytes, any Unicode form, any byte-order mark.

A file name may contain bytes that are not UTF-8. Python represents each as a lone surrogate (``os.fsdecode``). Files
that partinr writes have the escape ``\udce9``, which JSON and YAML restore; users see ``\xe9``.
"""

from __future__ import annotations

import codecs
import re
import shlex
import unicodedata
from collections.abc import Mapping
from typing import Any

_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that are not text, end a line, control a terminal, or change the direction of text."""

_OTHERS = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def utf8(text: str) -> bytes:
    """Text as UTF-8, with bytes of names that are not text as escapes of JSON and YAML."""
    return text.encode("utf-8", errors="backslashreplace")


def is_utf8(name: str) -> bool:
    """Whether a name is UTF-8, which many libraries ask of a path."""
    return not re.search("[\ud800-\udfff]", name)


def decoded(data: bytes, names: bool = False) -> str:
    """The text of a user's file from any system: UTF-8, with or without a byte-order mark.

    Args:
        data: content of the file.
        names: whether to keep bytes that are not text, as in file names.

    Raises:
        ValueError: the data is not UTF-8, or not text; the message has the cure.
    """
    if data.startswith(_OTHERS):
        raise ValueError("it is UTF-16 or UTF-32; save it as UTF-8")
    if b"\0" in data:
        raise ValueError("it is no text")
    return data.decode("utf-8-sig", errors="surrogateescape" if names else "strict")


def visible(text: str) -> str:
    r"""Text as one line that terminals, pages and figures can show, with other characters as ``\n``, ``\xe9`` …."""
    return _UNSEEN.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:  # a byte
        return f"\\x{code - 0xDC00:02x}"
    return match[0].encode("unicode_escape").decode() if code < 0xD800 or code > 0xDFFF else f"\\u{code:04x}"


def seen(node: Any) -> Any:
    """Plain containers whose values that are text are :func:`visible`."""
    if isinstance(node, Mapping):
        return {key: seen(value) for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        return [seen(value) for value in node]
    return visible(node) if isinstance(node, str) else node


def for_shell(name: object) -> str:
    """A path or value as one word for bash, zsh and ksh."""
    text = str(name)
    if not _UNSEEN.search(text):
        return shlex.quote(text) if re.search(r"[^\w@%+=:,./-]", text) or not text else text
    raw = "".join(
        # As bytes, so that the word is the same in every locale.
        "".join(f"\\x{byte:02x}" for byte in letter.encode("utf-8", errors="surrogateescape"))
        if _UNSEEN.match(letter)
        else f"\\{letter}"
        if letter in "\\'"
        else letter
        for letter in text
    )
    return f"$'{raw}'"


def normal(name: str) -> str:
    """A name in one Unicode form, since macOS writes é as two characters and others as one."""
    return unicodedata.normalize("NFC", name)


def one_line(message: str) -> str:
    """A message without its line breaks. Spaces stay: a name may hold several."""
    return visible(re.sub(r"\s*[\r\n]+\s*", " ", message.strip()))


def _as_far_as_possible(error: UnicodeError) -> tuple[str | bytes, int]:
    """An error handler for streams: names keep their bytes, and other characters are escaped."""
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.lookup_error("backslashreplace")(error)


AS_FAR_AS_POSSIBLE = "partinr"
"""How a stream handles what its encoding lacks: a name keeps its bytes, other characters are escaped."""

codecs.register_error(AS_FAR_AS_POSSIBLE, _as_far_as_possible)


def natural(label: str) -> list[tuple[float, str]]:
    """A sort key that puts #9 before #16, and lr 3e-4 before lr 1e-3."""
    parts = re.split(r"([0-9]+(?:\.[0-9]+)?(?:e[-+]?[0-9]+)?)", label)
    return [(float(part), "") if number % 2 else (0.0, part) for number, part in enumerate(parts)]

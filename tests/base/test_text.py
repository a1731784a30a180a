"""Names in any bytes: written, shown, and given to a shell."""

import json
import subprocess

import pytest
import yaml

from partinr.base.text import decoded, for_shell, normal, utf8, visible

LATIN_1 = b"caf\xe9".decode("utf-8", "surrogateescape")
NAMES = [
    "plain",
    "two  words",
    "it's",
    "a\nb\tc",
    "\\x41",
    "${x}",
    "%s",
    "<b>",
    "😀",
    LATIN_1,
    f"{LATIN_1}'\n",
    "\u202ea",
    "é",
]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_name_comes_back(name: str) -> None:
    assert json.loads(decoded(utf8(json.dumps(name, ensure_ascii=False)))) == name
    assert yaml.safe_load(decoded(utf8(yaml.safe_dump(name, allow_unicode=True)))) == name
    said = subprocess.run(["bash", "-c", f"printf %s {for_shell(name)}"], capture_output=True, check=True).stdout
    assert said == name.encode("utf-8", "surrogateescape")
    assert visible(name).isprintable()


def test_text_of_any_system() -> None:
    assert decoded(b"\xef\xbb\xbfa\r\n") == decoded(b"a\r\n") == "a\r\n"
    assert decoded(b"caf\xe9", names=True) == LATIN_1
    assert normal("e\u0301") == "é"
    for encoding in ("utf-16", "utf-32"):
        with pytest.raises(ValueError, match="save it as UTF-8"):
            decoded("a".encode(encoding))

"""A file among the words of a command line: ``partinr photo.png``, ``partinr sound.wav`` and ``data=photo.png``."""

from __future__ import annotations

import os
from collections.abc import Sequence

from partinr.base.errors import PartinrError
from partinr.base.readers import READERS, Reader, reader_of
from partinr.base.text import for_shell
from partinr.experiment import plugins
from partinr.experiment.hydra_errors import in_quotes


def with_picture(words: Sequence[str]) -> list[str]:
    """Overrides that fit the picture, or the other signal, that a word names. Other words stay as they are.

    A word alone stands for ``data.path=photo.png experiment=fast data.max_side=1024``, unless another experiment or
    size is given: ten seconds are few for all pixels of a large photograph. The ending says which choice of ``data``
    reads the file (:data:`~partinr.base.readers.READERS`), so ``data=sound.wav`` stands for ``data=audio
    data.path=sound.wav``.

    Raises:
        PartinrError: several words name files.
    """
    files = [word for word in words if "=" not in word and _is_file(word)]
    if len(files) > 1:
        several = for_shell(f"data.path={','.join(files)}")
        reader = _reader(files[0])
        choice = " ".join(["partinr -m", *_choice(reader), "experiment=fast"])
        raise PartinrError(f"a run fits one {reader.word}; to fit each of several: {choice} {several}")
    keys = {word.lstrip("+").partition("=")[0] for word in words}
    found: list[str] = []
    for word in words:
        key, _, value = word.partition("=")
        several_files = value.split(",")
        if word in files:
            reader = _reader(word)
            found += [*_choice(reader), f"data.path={_as_value(word)}", *_fast(reader, keys)]
        elif key == "data" and value not in plugins.groups()["data"] and all(map(_is_file, several_files)):
            found += [f"data={_reader(several_files[0]).data}", f"data.path={value}"]
        else:
            found.append(word)
    return found


def _is_file(word: str) -> bool:
    """Whether a word names a file, or would name one that is read."""
    return os.path.isfile(word) or reader_of(word) is not None


def _reader(word: str) -> Reader:
    """What reads a file; that of images says what is wrong with one of an unknown ending."""
    return reader_of(word) or READERS[0]


def _choice(reader: Reader) -> list[str]:
    """The override that chooses a reader, beside that of images, which is the default."""
    return [] if reader == READERS[0] else [f"data={reader.data}"]


def _fast(reader: Reader, keys: set[str]) -> list[str]:
    """What makes a first fit a short one, unless an experiment says how it is fitted."""
    if "experiment" in keys:
        return []
    return ["experiment=fast", *([reader.limit] if reader.limit and not keys & set(reader.instead) else [])]


def _as_value(path: str) -> str:
    """A path as one value: a comma does not separate, and a dollar does not refer."""
    escaped = path.replace("${", "\\${")
    return in_quotes(escaped) if escaped != path or "," in path else path

"""Sets of images: a folder, or built-in images."""

from __future__ import annotations

import difflib
import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from torch import Tensor

from partinr.base.errors import PartinrError
from partinr.base.spec import READS, Unused, spec
from partinr.base.text import decoded, normal
from partinr.signals.channels import Channels
from partinr.signals.decode import IMAGE_ENDINGS
from partinr.signals.depth import Bits
from partinr.signals.identity import Reading
from partinr.signals.image import Alpha, Crop, builtin_path, image_values, read_image
from partinr.signals.image_data import Size
from partinr.signals.sets import Item, SignalSet
from partinr.signals.source import Source
from partinr.signals.userfile import quoted


@dataclass(frozen=True)
class ImageItem(Item):
    """An image file, or a part of one.

    Attributes:
        name: see :class:`~partinr.signals.Item`.
        source: the file and how it is cut.
        alpha: what to do with transparency, see :func:`partinr.load_image`.
        bits: how many bits a file of 16 uses.
        channels: what to convert the image to, see :func:`partinr.load_image`.
    """

    name: str
    source: Source
    alpha: Alpha = "refuse"
    bits: int | None = None
    channels: Channels = "as_is"

    def load(self) -> Tensor:
        """The image: float32 ``[H, W, C]`` in [0, 1].

        Raises:
            PartinrError: the file cannot be read, or is no image that can be fitted.
        """
        return image_values(self._path, **self._options)

    def read(self) -> Reading:
        """The image and its identity: its file and the samples in it.

        Raises:
            PartinrError: as for :meth:`load`.
        """
        return read_image(self._path, **self._options)

    @property
    def _path(self) -> str:
        assert self.source.path is not None
        return self.source.path

    @property
    def _options(self) -> dict[str, Any]:
        source = self.source
        cut = {"size": source.size, "max_side": source.max_side, "crop": source.crop}
        return {**cut, "alpha": self.alpha, "bits": self.bits, "channels": self.channels}


@spec
class FolderData(SignalSet):
    """The images of a folder, without subfolders, in the order of their names with numbers as numbers.

    The ending of a file says whether it is used (:data:`~partinr.signals.decode.IMAGE_ENDINGS`). Hidden files are
    skipped.

    Attributes:
        path: the folder; None for the built-in images ``names``.
        names: names of built-in images, in order; not used if ``path`` is given.
        size: centre crop to a square and resize it to this side, in pixels.
        max_side: shrink so that the longer side has at most this many pixels, keeping the aspect.
        alpha: what to do with transparency: ``refuse`` it, composite over ``white`` or ``black``, ``drop`` it,
            or keep it as a further ``channel``.
        bits: how many bits files of 16 use, such as 12.
        channels: convert to ``grey`` or ``rgb``; ``as_is`` keeps the channels of each file.
        limit: use only the first images to learn from; those held out do not count.
        crops: number of squares from each image, instead of the centred one. The place of a square follows from the
            file's name and the square's number alone.
        crop_size: side of these squares in pixels of the file, before they are resized to ``size``; None for the
            largest.
        val_path: another folder, whose images are held out and cut in the same way.
        val_list: a text file with the names of the images in ``path`` to hold out, one a line, with or without endings.
        val_fraction: hold out about this part of the images. The choice follows from their names, so that adding an
            image does not change it for the others.
    """

    path: Annotated[str | None, READS] = None
    names: Annotated[Annotated[list[str], Field(min_length=1)] | None, Unused(beside="path")] = None
    size: Size | None = None
    max_side: Size | None = None
    alpha: Alpha = "refuse"
    bits: Bits | None = None
    channels: Channels = "as_is"
    limit: Annotated[int, Field(ge=1)] | None = None
    crops: Annotated[int, Field(ge=1)] | None = None
    crop_size: Size | None = None
    val_path: Annotated[str | None, READS] = None
    val_list: Annotated[str | None, READS] = None
    val_fraction: Annotated[float, Field(gt=0, lt=1)] | None = None

    def __post_init__(self) -> None:
        """Check that the options go together.

        Raises:
            PartinrError: two exclude each other, one requires another, or neither ``path`` nor ``names`` is given.
        """
        if self.path is None and self.names is None:
            raise PartinrError("there are no images; give data.path=FOLDER, or data=builtins with data.names=[NAME,…]")
        if self.size is not None and self.max_side is not None:
            raise PartinrError("data.size excludes data.max_side; give one or the other")
        if self.crops is not None and self.max_side is not None:
            raise PartinrError("data.crops excludes data.max_side; crops are squares, give data.size")
        if self.crops is not None and self.size is None and self.crop_size is None:
            raise PartinrError(
                "data.crops needs a size; give data.size (they are resized to it), data.crop_size, or both"
            )
        if self.crops is None and self.crop_size is not None:
            raise PartinrError("data.crop_size is the side of data.crops; say how many, such as data.crops=4")
        ways = [name for name in ("val_path", "val_list", "val_fraction") if getattr(self, name) is not None]
        if len(ways) > 1:
            raise PartinrError(f"data.{ways[0]} excludes data.{ways[1]}; hold images out in one way")
        for name in ("path", "val_path", "val_list"):
            if getattr(self, name) == "":
                raise PartinrError(
                    f"data.{name} is empty; give the path of a {'file' if name == 'val_list' else 'folder'}"
                )

    @property
    def title(self) -> str:
        """The name of the folder, or ``builtins``."""
        if self.path is None:
            return "builtins"
        return Path(os.path.abspath(os.path.expanduser(self.path))).name or "folder"

    def train(self) -> Sequence[ImageItem]:
        """The images that are not held out; the squares of a file follow each other.

        Raises:
            PartinrError: there is none, or no such folder or built-in image.
        """
        return self._items()[0]

    def val(self) -> Sequence[ImageItem]:
        """The images that are held out.

        Raises:
            PartinrError: there is none although some should be held out, or no such folder or list.
        """
        return self._items()[1]

    def _items(self) -> tuple[list[ImageItem], list[ImageItem]]:
        """Both parts together, so that names are unique."""
        if self.path is not None:
            files = image_files(Path(os.path.expanduser(self.path)), "path")
        else:
            files = [builtin_path(name) for name in dict.fromkeys(self.names or ())]
        held = self._held_out(files)
        # Names are taken in this order; the first of equal names stays as it is.
        names = Names()
        train = [file for file in files if file not in held]
        if not train:
            raise PartinrError(
                f"all {len(files)} images of {quoted(files[0].parent)} are held out, and none is left to learn from; "
                "hold out fewer"
            )
        return self._cut(train[: self.limit], names), self._cut(held, names)

    def _held_out(self, files: list[Path]) -> list[Path]:
        if self.val_path is not None:
            return image_files(Path(os.path.expanduser(self.val_path)), "val_path")
        if self.val_list is not None:
            return _listed(Path(os.path.expanduser(self.val_list)), files)
        if self.val_fraction is None:
            return []
        held = [file for file in files if lot(file.name) < self.val_fraction]
        if not held:
            raise PartinrError(
                f"data.val_fraction={self.val_fraction:g} holds out none of the {len(files)} images; "
                "give a larger one, or name them in a data.val_list"
            )
        return held

    def _cut(self, files: Iterable[Path], names: Names) -> list[ImageItem]:
        items = []
        for file in files:
            for crop in self._crops(file.name):
                source = Source(file.stem, str(file), self.size, self.max_side, crop)
                items.append(ImageItem(names.new(file.stem), source, self.alpha, self.bits, self.channels))
        return items

    def _crops(self, name: str) -> Iterator[Crop | None]:
        if self.crops is None:
            yield None
            return
        for number in range(self.crops):
            yield Crop((lot(f"{name}/{number}/row"), lot(f"{name}/{number}/column")), self.crop_size)


class Names:
    """Unique folder names: the name of a file, with a number from its second use on."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def new(self, wanted: str) -> str:
        """A name like ``wanted`` that is a valid folder name and new."""
        # Windows and macOS ignore case, macOS Unicode forms too, and Windows forbids some characters. A byte that is no
        # text would be none in tables and trackers either.
        name = base = re.sub(r'[\x00-\x1f\x7f<>:"/\\|?*\ud800-\udfff]+', "-", normal(wanted)).strip(" .") or "image"
        number = 1
        while name.casefold() in self._taken:
            number += 1
            name = f"{base}_{number}"
        self._taken.add(name.casefold())
        return name


def lot(text: str) -> float:
    """A number in [0, 1), determined by a text."""
    return int.from_bytes(hashlib.sha256(text.encode(errors="surrogateescape")).digest()[:6], "big") / 2**48


def image_files(folder: Path, key: str) -> list[Path]:
    """The image files of a folder, in order.

    Args:
        folder: where they lie.
        key: the key of ``data`` that names it.

    Raises:
        PartinrError: there is none, a link leads nowhere, or there is no such folder.
    """
    return files_of(folder, key, IMAGE_ENDINGS, "image", "image")


def files_of(folder: Path, key: str, endings: Sequence[str], what: str, alone: str) -> list[Path]:
    """The files of a folder with some endings, in order.

    Args:
        folder: where they lie.
        key: the key of ``data`` that names it.
        endings: in small letters.
        what: one of the files, in a word.
        alone: the choice of ``data`` for one of them.

    Raises:
        PartinrError: there is none, a link leads nowhere, or there is no such folder.
    """
    try:
        entries = [file for file in folder.iterdir() if not file.name.startswith(".")]
    except NotADirectoryError as error:
        raise PartinrError(f"data.{key}={folder} is a file, not a folder; for one {what} take data={alone}") from error
    except FileNotFoundError as error:
        raise PartinrError(f"no such folder: data.{key}={folder}; check the path{_from_where(folder)}") from error
    except OSError as error:
        raise PartinrError(f"data.{key}={folder} cannot be listed: {error.strerror}; change its permissions") from error
    files = [file for file in entries if file.is_file()]
    found = [file for file in files if file.suffix.lower() in endings]
    lost = sorted(each.name for each in entries if each.suffix.lower() in endings and not each.exists())
    if lost:
        raise PartinrError(
            f"{len(lost)} of the links in data.{key}={folder} lead nowhere, such as {lost[0]!r}; "
            "bring back what they lead to, or remove them"
        )
    if not found:
        *others, last = endings
        raise PartinrError(
            f"no {what} among the {len(files)} files in data.{key}={folder}; "
            f"give a folder that has some in itself, with the endings {', '.join(others)} or {last}"
        )
    return sorted(found, key=lambda file: (_natural(file.name), file.name))


def _from_where(path: Path) -> str:
    return "" if path.is_absolute() else f", which is taken from {quoted(Path.cwd())}"


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort key that puts 2 before 10."""
    parts = re.split(r"(\d+)", name.casefold(), flags=re.ASCII)
    return [(int(part), "") if at % 2 else (0, part) for at, part in enumerate(parts)]


def _listed(file: Path, images: list[Path]) -> list[Path]:
    """The images that a list names.

    Raises:
        PartinrError: the list cannot be read, is empty, or names an image that does not exist.
    """
    try:
        lines = re.split(r"\r\n?|\n", decoded(file.read_bytes(), names=True))
    except FileNotFoundError as error:
        raise PartinrError(f"no such file: data.val_list={file}; check the path{_from_where(file)}") from error
    except (OSError, ValueError) as error:
        why = f": {error}" if type(error) is ValueError else ""
        raise PartinrError(
            f"data.val_list={file} cannot be read as text{why}; give a text file with a name of an image a line"
        ) from error
    named: dict[str, list[Path]] = {}
    for image in images:
        for name in dict.fromkeys((normal(image.name), normal(image.stem))):
            named.setdefault(name, []).append(image)
    # A name may begin or end with a space.
    wanted = [line if normal(line) in named else line.strip() for line in lines if line.strip()]
    if not wanted:
        raise PartinrError(f"data.val_list={file} names no image; put one name a line into it")
    chosen: set[Path] = set()
    for name in wanted:
        if normal(name) not in named:
            near = difflib.get_close_matches(normal(name), named, n=1)
            hint = f"did you mean {near[0]}?" if near else "put names of files there, without their folder"
            raise PartinrError(
                f"data.val_list={file} names {name!r}, which is no image in {quoted(images[0].parent)}; {hint}"
            )
        found = named[normal(name)]
        if len({normal(image.name) for image in found}) < len(found):
            raise PartinrError(
                f"data.val_list={file} names {name!r}, and {quoted(images[0].parent)} has it in two Unicode forms: "
                f"{' and '.join(ascii(image.name) for image in found)}; rename one of them"
            )
        chosen.update(found)
    return [image for image in images if image in chosen]

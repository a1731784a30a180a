"""The comments of the YAML files in ``conf/``, which explain every choice and key."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

_KEY = re.compile(r"^(?P<indent> *)(?P<name>[\w/.+~-]+):(?: (?P<rest>.*))?$")
_COMMENT = re.compile(r"(?:^|\s+)# (?P<text>.*)$")


@dataclass(frozen=True)
class Key:
    """One key of a YAML file: its dotted name, its default as written, and its comment."""

    name: str
    default: str
    comment: str


@dataclass
class Comments:
    """What the comments of a YAML file say: the lines at its head, and its keys in order."""

    head: list[str]
    keys: list[Key] = field(default_factory=list)

    @property
    def summary(self) -> str:
        """The first sentence of the head."""
        prose = " ".join(itertools.takewhile(lambda line: not line.startswith("  "), self.head))
        return re.split(r"(?<=[.?])\s", prose)[0].rstrip(".")


def read_comments(text: str) -> Comments:
    """The comments of a YAML file, given its text."""
    lines = text.splitlines()
    head: list[str] = []
    while lines and lines[0].startswith("#"):
        head.append(lines.pop(0).removeprefix("#").removeprefix(" "))
    comments = Comments([line for line in head if not line.startswith("@package")])
    above: list[str] = []
    parents: list[str] = []
    for line in lines:
        if line.strip().startswith("# "):
            above.append(line.strip().removeprefix("# "))
        elif found := _KEY.match(line):
            parents[len(found["indent"]) // 2 :] = [found["name"]]
            rest = found["rest"] or ""
            comment = _COMMENT.search(rest)
            default = rest[: comment.start()] if comment else rest
            said = ". ".join([*([comment["text"]] if comment else []), *([" ".join(above)] if above else [])])
            above.clear()
            if parents[0] != "defaults":
                comments.keys.append(Key(".".join(parents), default.strip(), said))
        elif not line.strip():
            above.clear()
    return comments


def by_key(files: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The comment of each key of a composed configuration; that of the last file that has one.

    Args:
        files: text of each file in the order in which they are merged, with the dotted key that its keys are below.
    """
    found = {}
    for text, package in files:
        for key in read_comments(text).keys:
            if key.comment:
                found[".".join(filter(None, (package, key.name)))] = key.comment
    return found


def commented(text: str, comments: Mapping[str, str], package: str = "") -> str:
    """A configuration in YAML with a comment behind each key that has one.

    Args:
        text: YAML in block style, two spaces a level.
        comments: comment of each dotted key.
        package: the dotted key that the text is the value of; empty for the root.
    """
    lines = text.splitlines()
    parents: list[str] = [package] if package else []
    top, out = len(parents), []
    for line, following in zip(lines, [*lines[1:], "..."], strict=True):
        if found := _KEY.match(line):
            parents[top + len(found["indent"]) // 2 :] = [found["name"]]
            said = comments.get(".".join(parents))
            # No comment may stand within a value that goes on in the next line.
            whole = not found["rest"] or (following and not following.startswith(f"{found['indent']}  "))
            line = f"{line}  # {said}" if said and whole else line
        out.append(line)
    return "".join(f"{line}\n" for line in out)

"""The description of the package on an index: README, whose relative links would lead nowhere there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_CODE = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)

_PICTURE = re.compile(r"!\[([^\]]*)\]\((?!https?:)([^)]+)\)\n\n(\*[^*]+\*\n\n)?")
"""A picture of the repository, with the caption below it."""

_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?:|#)([^)]+)\)")
"""A link to a page of the repository."""


def description(readme: str, version: str, repository: str | None) -> str:
    """README as an index shows it: links and pictures lead into the repository, or are left out if it has no address.

    Args:
        readme: the page, in Markdown.
        version: of the package; its tag is ``v`` and the version.
        repository: its address, as GitHub and GitLab serve it.
    """
    picture, link = "", r"\1"
    if repository is not None:
        at = f"{repository.rstrip('/')}/{{}}/v{version}"
        picture, link = rf"![\1]({at.format('raw')}/\2)\n\n\3", rf"[\1]({at.format('blob')}/\2)"
    parts = _CODE.split(readme)
    parts[::2] = [_LINK.sub(link, _PICTURE.sub(picture, prose)) for prose in parts[::2]]
    return "".join(parts)


class Description(MetadataHookInterface):
    """Sets the description. The address of the repository is ``Source`` in the table ``project.urls``."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Add it to the table ``project``."""
        readme = Path(self.root, "README.md").read_text(encoding="utf-8")
        text = description(readme, metadata["version"], metadata.get("urls", {}).get("Source"))
        metadata["readme"] = {"content-type": "text/markdown", "text": text}

"""What a release needs: one version in all files and as the tag, and a description that an index can show."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from hatch_build import description
from partinr.base.version import __version__

ROOT = Path(__file__).parents[1]

README = """# partinr

![Regions](figures/regions.png)

*The regions
of a photo.*

See [the
docs](docs/index.md#start), [here](#above) and [the paper](https://arxiv.org/abs/2310.14184).

```python
picture = [2][0](1)
```
"""


@pytest.mark.parametrize(
    ("repository", "links"),
    [
        (None, ["#above", "https://arxiv.org/abs/2310.14184"]),
        (
            "https://example.org/us/partinr/",
            [
                "https://example.org/us/partinr/raw/v1.2.0/figures/regions.png",
                "https://example.org/us/partinr/blob/v1.2.0/docs/index.md#start",
                "#above",
                "https://arxiv.org/abs/2310.14184",
            ],
        ),
    ],
)
def test_no_link_of_the_description_is_relative(repository: str | None, links: list[str]) -> None:
    text = description(README, "1.2.0", repository)
    assert re.findall(r"\]\(([^)]{2,})\)", text) == links
    assert ("Regions" in text, "of a photo" in text) == (repository is not None,) * 2
    assert re.search(r"^See \[?the\ndocs\W", text, re.MULTILINE)
    assert text.endswith(README[README.index("```") :])


def releases() -> list[str]:
    """The headings of the changelog, newest first."""
    return re.findall(r"^## \[(.*?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)


def test_the_version_is_the_same_everywhere() -> None:
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["version"] == __version__
    assert next(name for name in releases() if name != "Unreleased") == __version__


@pytest.mark.slow
@pytest.mark.release
def test_the_tag_is_the_version() -> None:
    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert git("status", "--porcelain") == "", "commit everything first"
    assert f"v{__version__}" in git("tag", "--points-at", "HEAD").split(), f"git tag v{__version__}"
    assert releases()[0] == __version__, "name the section Unreleased of the changelog after the version"

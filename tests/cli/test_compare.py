"""``partinr compare`` and ``partinr view --against``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from partinr.runs.layout import IMAGE


def test_two_runs_side_by_side(partinr: Any, finished: Path, copy_of: Callable[[Path], Path]) -> None:
    other = copy_of(finished)
    config = other / ".hydra/config.yaml"
    config.write_text(re.sub(r"\blr: .*", "lr: 0.5", config.read_text(), count=1))
    answer = partinr("compare", finished, other)
    assert (answer.code, answer.err) == (0, "")
    assert re.search(r"^lr +\S+ +0\.5\s*$", answer.out, re.MULTILINE)
    assert "max_steps" not in answer.out
    assert "max_steps" in partinr("compare", finished, other, "--all").out

    answer = partinr("compare", finished, other, "-o", "compare.html")
    assert answer.out.split() == ["compare", "compare.html"]
    page = Path("compare.html").read_text()
    assert 'id="stage"' in page
    answer = partinr("view", finished, "--against", other, "-o", "view.html")
    assert answer.code == 0, answer.err
    for text in (page, Path("view.html").read_text()):
        stage = re.search(r'id="stage-data">(.*?)</script>', text, re.DOTALL)
        assert stage is not None
        assert [fit["name"].rpartition(" ")[2] for fit in json.loads(stage[1])["fits"]][1] == "0.5"

    # Other pixels are another image: side by side, but not under a slider.
    with Image.open(other / IMAGE) as picture:
        picture.rotate(180).save(other / IMAGE)
    assert partinr("compare", finished, other, "-o", "compare.html").code == 0
    page = Path("compare.html").read_text()
    assert ('id="stage"' in page, "There is no slider" in page) == (False, True)
    answer = partinr("view", finished, "--against", other)
    assert (answer.code, "fitted different images; partinr compare shows them" in answer.err) == (2, True)

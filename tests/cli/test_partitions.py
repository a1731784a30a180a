"""``partinr partitions``: every rule in one figure and one table, and what is said of those that do not fit."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from partinr.experiment import partitions
from partinr.experiment.conf import conf_dir
from partinr.pictures.draw import Panel

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"

Rows = list[list[Panel | None]]

NEED_NOTHING = sorted(
    {file.stem for file in conf_dir().glob("partition/*.yaml")}
    - {"none", "mask", "smp", "silence", "onsets", "shots"}
    - {"adaptive", "experts", "soft_cells"}  # which are learned, or change in training
)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Rows]:
    """The rows of every figure that is drawn from now on."""
    figures: list[Rows] = []
    draw = partitions.contact_sheet

    def watched(rows: Rows, *rest: Any) -> bytes:
        figures.append(rows)
        return draw(rows, *rest)

    monkeypatch.setattr(partitions, "contact_sheet", watched)
    return figures


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> list[Rows]:
    """The same of figures that are not drawn, which takes a third of a second each."""
    figures: list[Rows] = []

    def keep(rows: Rows, *_: Any) -> bytes:
        figures.append(rows)
        return b""

    monkeypatch.setattr(partitions, "contact_sheet", keep)
    return figures


def titles(rows: Rows) -> list[list[str]]:
    return [["" if panel is None else panel.title for panel in row] for row in rows]


def table(out: str) -> list[list[str]]:
    """The rows of the printed table, cell by cell; two spaces or more part them."""
    return [re.split(r"\s{2,}", line.strip()) for line in out.partition("\n\n")[0].splitlines()[1:]]


def test_every_rule_that_needs_nothing(partinr: Any, drawn: list[Rows]) -> None:
    answer = partinr("partitions", "astronaut", "--max-side", "48")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.endswith("\n\nfigure   partitions.png\n")
    assert max(map(len, answer.out.splitlines())) <= 100
    assert answer.out.split()[:6] == ["rule", "regions", "smallest", "largest", "seconds", "bits"]
    for line, name in zip(table(answer.out), NEED_NOTHING, strict=True):
        assert line[:2] == [name, "9"]
        smallest, largest, bits = (int(line[at].replace(",", "")) for at in (2, 3, 5))
        assert 1 <= smallest <= 48**2 // 9 <= largest < 48**2
        assert (bits == 0) == (name in ("grid", "random"))
        assert re.fullmatch(r"\d+\.\d{3}", line[4])
    (rows,) = drawn
    (image, *panels) = [panel for row in rows for panel in row if panel is not None]
    assert (image.title, image.note) == ("astronaut", "48×48 pixels")
    assert [panel.title for panel in panels] == [f"{name} #9" for name in NEED_NOTHING]
    for panel in panels:
        assert re.fullmatch(r"(<0\.01|\d+\.\d\d) s · (\d+ bit|\d+\.\d kbit)", panel.note)
    assert [len(row) for row in rows] == [4, 3]
    with Image.open("partitions.png") as picture:
        assert 1000 < picture.width <= 4000


def test_a_row_for_each_number_of_regions(partinr: Any, drawn: list[Rows]) -> None:
    words = ("--rules", "none,random,grid", "--regions", "2,64", "--size", "16", "-o", "folder/x.png")
    answer = partinr("partitions", "coffee", *words)
    assert (answer.code, answer.err) == (0, "")
    assert [line[:4] for line in table(answer.out)] == [
        ["none", "1", "256", "256"],
        ["random", "2", "128", "128"],
        ["random", "64", "4", "4"],
        ["grid", "2", "128", "128"],
        ["grid", "64", "4", "4"],
    ]
    # None has no number of regions to be told, and is drawn once.
    assert titles(drawn[0]) == [["coffee", "none #1", "random #2", "grid #2"], ["", "", "random #64", "grid #64"]]
    Image.open("folder/x.png").verify()


def test_options_of_rules_and_of_the_image(partinr: Any, listed: list[Rows], pictures: Path) -> None:
    np.save("my map, (1).npy", np.arange(480).reshape(24, 20) // 96)
    words = ["grid.rows=2", "grid.cols=3", "mask.path='my map, (1).npy'", "mask.regions=null", "data.alpha=drop"]
    rules = ["--rules", "mask,grid,random", "--regions", "4,6"]
    answer = partinr("partitions", pictures / "alpha.png", *words, *rules)
    assert (answer.code, answer.err) == (0, "")
    assert [line[:2] for line in table(answer.out)] == [["mask", "5"], ["grid", "6"], ["random", "4"], ["random", "6"]]
    assert titles(listed[0]) == [["alpha", "mask #5", "grid #6", "random #4"], ["", "", "", "random #6"]]
    # Without --rules, an option adds its rule to the others.
    answer = partinr("partitions", pictures / "good.png", words[2], "semantic.regions=2")
    assert answer.code == 0
    assert [line[0] for line in table(answer.out)] == sorted(["mask", *NEED_NOTHING])
    assert [line[1] for line in table(answer.out) if line[0] in ("semantic", "mask", "kmeans")] == ["9", "5 of 9", "2"]
    assert (
        answer.err == "partinr: note: good: partition=mask found 5 regions in this signal, fewer than the 9 asked for\n"
    )


def test_several_images_of_different_shape(partinr: Any, drawn: list[Rows], pictures: Path) -> None:
    words = ("--rules", "grid,none", "--regions", "4", "--max-side", "16", "-o", "x.PDF")
    answer = partinr("partitions", pictures / "good.png", "coffee", *words)
    assert (answer.code, answer.err) == (0, "")
    assert [line[:3] for line in table(answer.out)] == [
        ["good", "grid", "4"],
        ["good", "none", "1"],
        ["coffee", "grid", "4"],
        ["coffee", "none", "1"],
    ]
    assert titles(drawn[0]) == [["good", "grid #4", "none #1"], ["coffee", "grid #4", "none #1"]]
    assert Path("x.PDF").read_bytes().startswith(b"%PDF")


def test_the_seed_is_that_of_every_lot(partinr: Any, listed: list[Rows]) -> None:
    for seed in ("0", "0", "1"):
        partinr("partitions", "astronaut", "--size", "16", "--rules", "kmeans,random", "--seed", seed)
    same, again, other = ([panel.picture for panel in figure[0] if panel is not None][1:] for figure in listed)
    assert all(map(np.array_equal, same, again))
    assert not any(map(np.array_equal, same, other))


def test_the_others_go_on(partinr: Any, listed: list[Rows]) -> None:
    words = ("--size", "8", "--regions", "4,61", "--rules", "grid,random")
    answer = partinr("partitions", "astronaut", *words)
    assert answer.code == 2
    said = "partinr: error: astronaut, grid #61: --regions=61 has no factoring .*; the next smaller that has is 56\n"
    assert re.fullmatch(said, answer.err)
    assert table(answer.out)[1] == ["grid", "– of 61", "–", "–", "–", "–"]
    assert titles(listed[0]) == [["astronaut", "grid #4", "random #4"], ["", "grid #61", "random #61"]]
    assert listed[0][1][1].note == "cannot be carried out"  # type: ignore[union-attr]
    assert Path("partitions.png").is_file()


def test_other_signals(partinr: Any, listed: list[Rows]) -> None:
    film = ("data=film", "data.frames=12", "data.height=16", "data.width=20", "data.shots=3")
    answer = partinr("partitions", *film, "--regions", "9")
    assert (answer.code, answer.err) == (0, "")
    assert [line[:2] for line in table(answer.out)] == [
        [name, "9"] for name in ("grid", "kmeans", "octree", "random", "shots", "superpixel")
    ]
    assert listed[0][0][0].note.startswith("12 frames of 16×20 pixels")  # type: ignore[union-attr]
    answer = partinr("partitions", *film, "kmeans.held=mean", "shots.regions=null", "--rules", "kmeans,shots,silence")
    assert answer.code == 2
    assert [line[:2] for line in table(answer.out)] == [["kmeans", "9"], ["shots", "3"], ["silence", "– of 9"]]
    assert re.fullmatch(r"partinr: error: film, silence #9: .* is for signals of 1 axis.*; choose .*\n", answer.err)


def example(name: str) -> str:
    """The code block of docs/extending.md that begins with the name of a file."""
    found = re.search(rf"```\w+\n# {re.escape(name)}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture
def _stripes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The rule of docs/extending.md, its YAML in a folder whose name is no word of Hydra's grammar."""
    monkeypatch.syspath_prepend(str(tmp_path))
    Path("my_rules.py").write_text(example("my_rules.py"))
    Path("it's, (mine)/partition").mkdir(parents=True)
    Path("it's, (mine)/partition/stripes.yaml").write_text(example("my_conf/partition/stripes.yaml"))
    yield
    sys.modules.pop("my_rules", None)


@pytest.mark.usefixtures("_stripes")
def test_a_rule_of_ones_own(partinr: Any, listed: list[Rows]) -> None:
    words = ("partitions", "astronaut", "--size", "16", "--config-dir", "it's, (mine)")
    answer = partinr(*words)
    assert (answer.code, answer.err) == (0, "")
    assert [line[0] for line in table(answer.out)] == [*NEED_NOTHING, "stripes"]
    alone = [*words, "--rules", "stripes"]
    answer = partinr(*alone, "stripes.count=8", "--regions", "2,9")
    assert (answer.code, answer.err) == (0, "")
    assert [line[:4] for line in table(answer.out)] == [["stripes", "8", "32", "32"]]
    assert titles(listed[-1]) == [["astronaut", "stripes #8"]]
    for wrong, said in [
        ("stripes.count=few", "stripes.count='few': should be a valid integer"),
        ("+stripes.cuont=2", r"unknown option stripes.cuont; did you mean stripes.count\?"),
        ("stripes._target_=nowhere.Stripes", "stripes._target_='nowhere.Stripes' cannot be imported: .*; give"),
    ]:
        answer = partinr(*alone, wrong)
        assert (answer.code, answer.out) == (2, "")
        assert re.fullmatch(f"partinr: error: {said}.*\n", answer.err), answer.err

"""A study as one command, small or full, and its table."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

SMALLER = ("data.max_side=24", "backbone.match_params=500", "max_steps=3")


@pytest.fixture(scope="module")
def swept(partinr, tmp_path_factory) -> Path:
    """Two rows of the paper's table, two seeds each."""
    folder = tmp_path_factory.mktemp("study")
    answer = partinr(
        *("experiment=paper_siren_table", "size=small", "case=none,grid_4", "seed=0,1", f"output_dir={folder}"),
        *SMALLER,
    )
    assert answer.code == 0, answer.err
    assert "4 runs: 4 completed" in answer.out
    return folder / "sweeps" / "paper_siren_table_small"


def test_a_table_is_one_command(swept):
    # Without -m, too; and what is asked for has the last word on what is swept.
    runs = [json.loads(path.read_text()) for path in swept.glob("*/run.json")]
    assert sorted((run["regions"], run["seed"]) for run in runs) == [(1, 0), (1, 1), (4, 0), (4, 1)]
    assert {tuple(run["signal"]["shape"]) for run in runs} == {(16, 24, 3)}


def test_a_table_goes_to_the_terminal_or_to_a_file(partinr, swept, tmp_path):
    shown = partinr("table", swept)
    assert shown.code == 0, shown.err
    assert "|" not in shown.out
    assert {"no", "2×2"} < {line.partition(" ")[0] for line in shown.out.splitlines()}
    answer = partinr("table", swept, "--format", "md")
    assert [line.split("|")[1].strip() for line in answer.out.splitlines()[:4]] == [
        *("group", "---", "no partition", "2×2 grid")
    ]
    assert partinr("table", swept, "--format", "md", "--no-seconds").out.count("|") < answer.out.count("|")
    written = partinr("table", swept, "-o", tmp_path / "table.md")
    assert written.out.split() == ["table", str(tmp_path / "table.md")]
    assert (tmp_path / "table.md").read_text() == answer.out
    alone = partinr("report", swept, "--width", "page")
    assert (alone.code, alone.err) == (2, "partinr: error: --width is about figures; give --figures DIR, too\n")
    wrong = partinr("table", swept, "-o", tmp_path / "table.doc")
    assert (wrong.code, wrong.err.count("\n")) == (2, 1)
    assert "give a file that ends in .md, .tex or .csv" in wrong.err


def test_a_study_without_a_small_size_says_which_have_one(partinr):
    for asked in (("experiment=demo",), (), ("experiment=paper_siren_table,demo", "-m")):
        answer = partinr("size=small", *asked)
        assert answer.code == 2
        assert "has no size=small; choose from boundaries, grid_speedup, " in answer.err
    assert "there is no size=tiny; choose from full, half, " in partinr("size=tiny", "experiment=demo").err


SIGNALS = {
    "boundaries": ("data.size=16", "data.path=pictures"),
    "demo": ("data.size=16",),
    "fast": ("data.size=16", "data.path=pictures/0.png"),
    "grid_speedup": ("data.size=16", "data.path=pictures/0.png"),
    "hypothesis_1d": ("data.shape=[16]", "data.counts=[1,4]"),
    "hypothesis_2d": ("data.shape=[16,16]", "data.counts=[1,4]"),
    "mask_source": ("data.size=16", "data.path=pictures/0.png"),
    "meta_bsds_both_semantic": ("data.size=16", "data.path=pictures", "data.val_path=others"),
    "meta_text_both_grid": ("data.size=48", "data.train_items=8", "data.val_items=2"),
    "paper_relu": ("data.size=16", "data.path=pictures/0.png"),
    "paper_siren": ("data.size=16", "data.path=pictures/0.png"),
    "regions": ("data.size=16", "data.path=pictures"),
}
"""Something small for each experiment to work on."""


@pytest.mark.slow
@pytest.mark.parametrize("experiment", SIGNALS)
def test_every_experiment_takes_one_step(partinr: Any, tmp_path: Path, experiment: str) -> None:
    for folder, count in (("pictures", 4), ("others", 1)):
        (tmp_path / folder).mkdir()
        for number in range(count):
            Image.effect_noise((24, 20), 50).convert("RGB").save(tmp_path / folder / f"{number}.png")
    words = (f"experiment={experiment}", "max_steps=1", "schedule.warmup_steps=0", "hydra.run.dir=run")
    answer = partinr(*words, *SIGNALS[experiment])
    assert answer.code == 0, answer.err
    assert json.loads(Path("run/run.json").read_text())["status"] == "completed"

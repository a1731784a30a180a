"""Groups compared with one, pair by pair over all signals."""

import csv
import io
import math
import re

import pytest

from partinr.base.errors import PartinrError
from partinr.base.statistics import holm, paired
from partinr.report import Layout, Wording, collect, write_html
from partinr.report.against import against_lone, comparisons
from partinr.report.export import table_text
from partinr.report.groups import Study
from partinr.runs.layout import CURVE_COLUMNS
from partinr.runs.sharing import SIGN

SIGNALS = {"a": 20.0, "b": 24.0, "c": 30.0, "d": 22.0, "e": 26.0, "f": 28.0}
"""The PSNR at which the lone network ends on each [dB]."""

FACTORS = {"a": 2.0, "b": 1.5, "c": 1.6, "d": 2.4, "e": 1.25, "f": 2.2}
"""How many times as fast the grid is."""


def curve(end, steps=100):
    """A straight line to the final PSNR."""
    return [
        {**dict.fromkeys(CURVE_COLUMNS, 0), "step": step, "seconds": step / 10, "psnr": end * step / steps}
        for step in (0, steps)
    ]


@pytest.fixture(scope="module")
def records(write_run, tmp_path_factory):
    """A lone network and two grids on six signals with two seeds; one run of the larger grid is missing."""
    study = tmp_path_factory.mktemp("against")
    for signal, end in SIGNALS.items():
        for seed in (0, 1):
            ends = {1: end, 4: end * FACTORS[signal], 9: end * (0.8 if signal == "a" else 1.25)}
            for regions, own in ends.items():
                if (signal, seed, regions) != ("f", 1, 9):
                    folder = study / f"{signal}-{regions}-{seed}"
                    write_run(folder, image=signal, regions=regions, seed=seed, rows=curve(own + seed), pictures=None)
    return collect([study])


def test_groups_are_compared_signal_by_signal(records):
    (four, nine), notes = comparisons(Study.of(records), "none")
    assert (four.group.label, four.units, nine.units) == ("grid #4", 6, 6)
    gains = [end * (FACTORS[signal] - 1) for signal, end in SIGNALS.items()]
    assert four.gain.value == pytest.approx(sum(gains) / 6)
    assert four.gain.interval is not None
    assert min(gains) < four.gain.interval[0] < four.gain.value < four.gain.interval[1] < max(gains)
    others = [end * (-0.2 if signal == "a" else 0.25) for signal, end in SIGNALS.items()]
    tests = [paired([(gain, 0.0) for gain in each]) for each in (gains, others)]
    assert [four.p, nine.p] == pytest.approx(holm(tests))
    assert notes == ["3×3 grid: left out without a partner on the same signal with the same seed: 1."]


def test_runs_that_do_not_arrive_count_up_to_their_end(records):
    (four, nine), _ = comparisons(Study.of(records), "none")
    assert four.arrived == (12, 12)
    steps = four.efforts["step"]
    ends = {(signal, seed): end + seed for signal, end in SIGNALS.items() for seed in (0, 1)}
    own = [100 * end / (SIGNALS[signal] * FACTORS[signal] + seed) for (signal, seed), end in ends.items()]
    assert steps.own is not None
    assert [steps.own, steps.reference, steps.until] == pytest.approx([sum(own) / 12, 100, math.inf])
    assert steps.ratio is not None
    assert steps.ratio.value == pytest.approx(100 / steps.own)
    assert steps.ratio.interval is not None
    assert 1.25 < steps.ratio.interval[0] < steps.ratio.value < steps.ratio.interval[1] < 2.4
    # On the signal "a", the larger grid ends below the lone network after its 100 steps.
    assert nine.arrived == (9, 11)
    late = nine.efforts["step"]
    arrivals = [100 * end / (SIGNALS[signal] * 1.25 + seed) for (signal, seed), end in ends.items() if signal != "a"]
    means = [100, *((arrivals[2 * place] + arrivals[2 * place + 1]) / 2 for place in range(4)), arrivals[8]]
    assert [late.until, late.own] == pytest.approx([100, sum(means) / 6])


def test_the_table_says_how_it_is_made_in_every_form(records):
    layout = Layout(against="no partition", wording=Wording("grid #4=ours"))
    text = table_text(records, "md", layout=layout)
    ours = next(line for line in text.splitlines() if line.startswith("| ours |"))
    assert ours.split(" | ")[1] == "6"
    assert "**+" in ours
    assert "Reference: no partition." in text
    assert "corrected for 2 groups by Holm" in text
    assert "all runs count at most 100 steps" in text
    assert "× less time" not in table_text(records, "text", clocks=False, layout=layout)
    assert r"\textbf{+" in table_text(records, "tex", layout=layout)
    assert re.search(r"\(\$-\$\d[\d.]* to \+", table_text(records, "tex", layout=layout))
    rows = list(csv.DictReader(io.StringIO(table_text(records, "csv", layout=layout))))
    assert [(row["group"], row["arrived"], row["runs"]) for row in rows] == [
        ("grid #4", "12", "12"),
        ("grid #9", "9", "11"),
    ]
    assert float(rows[0]["psnr_low"]) < float(rows[0]["psnr"]) < float(rows[0]["psnr_high"])


def test_few_pairs_have_a_test_and_no_interval(write_run, tmp_path):
    for seed, gain in enumerate((1.0, 1.2, 0.9)):
        write_run(tmp_path / f"n{seed}", seed=seed, rows=curve(20.0 + seed))
        facts = {"machine": {"ran": 2.0, "waited": 1.0}}
        write_run(tmp_path / f"g{seed}", regions=4, seed=seed, rows=curve(20.0 + seed + gain), facts=facts)
    (grid,), notes = comparisons(Study.of(collect([tmp_path])), "none")
    assert (grid.units, grid.gain.interval, notes) == (3, None, [])
    assert grid.p is not None
    assert grid.p < 0.05
    text = table_text(collect([tmp_path]), "md", layout=Layout(against="none"))
    assert "no interval with fewer than 5 pairs" in text
    assert f"{SIGN} |" in text.splitlines()[2]


def test_a_group_that_never_arrives_has_no_ratio(write_run, tmp_path):
    for seed in (0, 1):
        write_run(tmp_path / f"n{seed}", seed=seed, rows=curve(20.0 + seed))
        write_run(tmp_path / f"g{seed}", regions=4, seed=seed, rows=curve(15.0 + seed, steps=80))
    text = table_text(collect([tmp_path]), "md", layout=Layout(against="none"))
    assert text.splitlines()[2].endswith("| 0/2 | – | 100 | – | – |")
    assert "–: no run of the group reached that PSNR." in text
    assert "Restricted" not in text


def test_the_report_compares_with_the_lone_network(records, write_run, tmp_path):
    page = write_html(records, tmp_path / "many.html").read_text(encoding="utf-8")
    assert "Compared with no partition, over all images" in page
    assert page.count("<td", page.index('id="against"'), page.index("Reference: no partition")) == 16
    for regions in (1, 4):
        write_run(tmp_path / "one" / str(regions), regions=regions, pictures=None)
    assert against_lone(Study.of(collect([tmp_path / "one"]))) is None


def test_images_of_one_run_are_pairs_without_times(write_run, tmp_path):
    for regions, gain in ((1, 0.0), (4, 1.0)):
        images = {name: {"psnr": end + gain * (1 + end / 100), "ssim": 0.9} for name, end in SIGNALS.items()}
        write_run(tmp_path / str(regions), regions=regions, rows=curve(25 + gain), facts={"images": images})
    (grid,), _ = comparisons(Study.of(collect([tmp_path])), "none")
    assert (grid.units, grid.efforts) == (6, {})
    assert grid.gain.value == pytest.approx(1.25)


@pytest.mark.parametrize(
    ("layout", "said"),
    [
        ({"against": "nnoe"}, "did you mean 'none'"),
        ({"against": "none", "sort": "psnr"}, "leave out --sort"),
        ({"against": "none", "columns": "psnr"}, "leave out --columns"),
    ],
)
def test_what_cannot_be_compared_is_one_line(records, layout, said):
    with pytest.raises(PartinrError, match=said):
        table_text(records, "text", layout=Layout(**layout))


def test_groups_without_a_pair_are_refused(write_run, tmp_path):
    write_run(tmp_path / "n", seed=0)
    write_run(tmp_path / "g", regions=4, seed=1)
    with pytest.raises(PartinrError, match="no other group has run on the same signal with the same seed"):
        table_text(collect([tmp_path]), "text", layout=Layout(against="none"))

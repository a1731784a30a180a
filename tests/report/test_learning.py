"""Runs that learned an initialisation, and fits that begin with one."""

import csv
import math
import re
from typing import Any

import pytest

from partinr.base.errors import PartinrError
from partinr.report import collect, make_report, make_table, summary_rows, write_figures
from partinr.report.groups import Study
from partinr.report.table import rows
from partinr.runs.layout import ADAPTATION, CURVE_COLUMNS, RECONSTRUCTION

SECTION = "partinr.regimes.meta.report.MetaSection"
META = {
    "_target_": "partinr.regimes.MetaSettings",
    "algorithm": "maml",
    "inner_steps": 2,
    "inner_lr_kind": "per_parameter_per_step",
    "partition_in": "both",
    "initialisation": "shared",
    "validation_steps": 5,
}
DATA = {"_target_": "partinr.signals.SmoothData", "shape": [32, 32], "train_items": 256, "val_items": 16}


def after(inner_steps, regions, seed, step=100):
    return 10 + 2 * math.log2(1 + inner_steps) * (1 + 0.1 * math.log2(regions)) + 0.05 * step + 0.2 * seed


@pytest.fixture(scope="session")
def write_learned(write_run):
    """Writes a run that learned an initialisation: ``write_learned(path, regime={"algorithm": "fomaml"})``."""

    def write(path, *, regions=4, seed=0, regime=None, settings=None, data=None, **how):
        asked = {**META, **(regime or {})}
        blank = dict.fromkeys(CURVE_COLUMNS, 0)
        last = asked["validation_steps"]
        curve = [
            {**blank, "step": step, "seconds": step / 10, "psnr": after(asked["inner_steps"], regions, seed, step)}
            for step in (0, 1, 10, 100)
        ]
        train = "none" if asked["partition_in"] != "both" or regions == 1 else "grid"
        facts = {
            "name": f"smooth {regions}",
            "parameters_learned": 12_345,
            "psnr_by_inner_step": [after(step, regions, seed) for step in range(last + 1)],
            "signal": {"name": "smooth", "shape": [32, 32, 3], "train": 256, "held_out": 16},
            "partition": {"train": train, "test": "none" if regions == 1 else "grid", "notice": None},
        }
        settings = {"regime": asked, "data": {**DATA, **(data or {})}, **(settings or {})}
        run = write_run(
            path, regions=regions, seed=seed, rows=curve, settings=settings, facts=facts | how.pop("facts", {}), **how
        )
        if (run / RECONSTRUCTION).exists():
            (run / RECONSTRUCTION).rename(run / ADAPTATION)
        return run

    return write


@pytest.fixture(scope="session")
def learned(write_learned, tmp_path_factory):
    """None and grid #4, the latter also cut in testing alone; two seeds each."""
    folder = tmp_path_factory.mktemp("learned")
    for seed in range(2):
        write_learned(folder / f"none-{seed}", regions=1, seed=seed)
        write_learned(folder / f"both-{seed}", seed=seed)
        write_learned(folder / f"test-{seed}", seed=seed, regime={"partition_in": "test"})
    return folder


def names(folder):
    return [group.label for group in Study.of(collect([folder]), SECTION).groups]


# -- groups ---------------------------------------------------------------------------------------------------------


def test_what_was_learned_and_what_was_fitted_are_never_compared(learned, study):
    records = collect([learned, study])
    fits, starts = Study.of(records), Study.of(records, SECTION)
    assert {record.regime.section for record in fits.records} == {None}
    assert len(fits.records) + len(starts.records) == len(records)
    assert not set(fits.images) & set(starts.images)
    # Neither changes what the other is called.
    assert [group.name for group in fits.groups] == [group.name for group in Study.of(collect([study])).groups]
    assert starts.images == ("smooth, 16 held out",)
    assert all(starts.versus(group) is None for group in starts.groups)


def test_groups_are_named_by_what_differs(write_learned, tmp_path):
    write_learned(tmp_path / "1")
    assert names(tmp_path) == ["grid #4"]
    write_learned(tmp_path / "2", regime={"partition_in": "test"})
    assert names(tmp_path) == ["cut in both", "cut in test only"]
    write_learned(tmp_path / "3", regions=1)
    assert names(tmp_path) == ["none", "grid #4 · cut in both", "grid #4 · cut in test only"]
    write_learned(tmp_path / "4", regime={"partition_in": "neither"}, facts={"regions": 1})
    assert names(tmp_path) == ["none", "none · not cut", "grid #4 · cut in both", "grid #4 · cut in test only"]


@pytest.mark.parametrize(
    ("regime", "settings", "said"),
    [
        ({"algorithm": "fomaml"}, {}, ("maml", "fomaml")),
        ({"initialisation": "region"}, {}, ("shared initialisation", "an initialisation a region")),
        ({"inner_lr_kind": "static"}, {}, ("rates per_parameter_per_step", "rates static")),
        ({"inner_steps": 3}, {}, ("inner_steps 2", "inner_steps 3")),
        ({}, {"coords.frame": "local"}, ("frame global", "frame local")),
        ({}, {"backbone.hidden_features": None}, ("params 100k", "width 256")),
    ],
)
def test_a_setting_that_differs_is_in_the_name(write_learned, tmp_path, regime, settings, said):
    write_learned(tmp_path / "a")
    write_learned(tmp_path / "b", regime=regime, settings=settings)
    assert sorted(names(tmp_path)) == sorted(said)


def test_other_held_out_signals_are_another_set(write_learned, tmp_path):
    write_learned(tmp_path / "a")
    write_learned(tmp_path / "b", data={"_target_": "partinr.signals.FolderData", "path": "photos"})
    write_learned(tmp_path / "c", data={"_target_": "partinr.signals.FolderData", "path": "other"})
    assert len(set(Study.of(collect([tmp_path]), SECTION).images)) == 3


# -- numbers --------------------------------------------------------------------------------------------------------


def test_the_table_says_how_it_was_learned_and_psnr_step_by_step(learned):
    table = rows(Study.of(collect([learned]), SECTION))
    none, both, test = table
    assert [row.cells["cut"].text for row in table] == ["none", "grid", "none → grid"]
    assert (both.cells["algorithm"].text, both.cells["inner_steps"].text) == ("maml", "2")
    assert [key for key in both.cells if key.startswith("psnr")] == ["psnr_0", "psnr_1", "psnr_2", "psnr_5"]
    for step in (0, 1, 2, 5):
        stat = both.cells[f"psnr_{step}"].stat
        assert stat is not None
        assert stat.mean == pytest.approx((after(step, 4, 0) + after(step, 4, 1)) / 2)
        assert stat.std == pytest.approx(0.2 / math.sqrt(2))
    assert none.cells["seconds_per_step"].text == "100"
    assert both.cells["peak_memory_bytes"].text == "734M"
    assert test.cells["parameters_learned"].text == "12.3k"


def test_columns_are_of_all_numbers_of_inner_steps_but_not_too_many(write_learned, tmp_path):
    write_learned(tmp_path / "a")
    write_learned(tmp_path / "b", regime={"inner_steps": 8, "validation_steps": 20})
    first, second = rows(Study.of(collect([tmp_path]), SECTION))
    keys = [key for key in first.cells if key.startswith("psnr")]
    assert keys == [f"psnr_{step}" for step in (0, 1, 2, 3, 5, 8, 20)]
    assert {first.cells["psnr_20"].text, second.cells["psnr_20"].text} > {"–"}


def test_a_run_that_has_not_been_evaluated_has_a_row(write_learned, tmp_path):
    how: dict[str, Any] = {"psnr_by_inner_step": [], "metrics": {}}
    write_learned(tmp_path / "a", status="failed", message="no", facts=how)
    (row,) = rows(Study.of(collect([tmp_path]), SECTION))
    assert row.group.provisional
    make_report([tmp_path], tmp_path / "report.html")
    write_figures(collect([tmp_path]), tmp_path / "figures")


def test_the_summary_has_psnr_in_columns_of_its_own(learned, study):
    lines = summary_rows(collect([learned, study]))
    assert len({tuple(line) for line in lines}) == 1
    for line in lines:
        assert (line["PSNR dB"] == "–") == (line["PSNR dB after 2"] != "–") == (line["algorithm"] == "maml")


def test_figures_and_numbers_are_files_of_their_own(learned, study, tmp_path, monkeypatch):
    made = {path.name for path in write_figures(collect([learned]), tmp_path)}
    stems = [f"learning-smooth-16-held-out-{what}" for what in ("outer-steps", "outer-seconds", "inner-steps")]
    assert made == {f"{stem}.{kind}" for stem in stems for kind in ("png", "pdf")} | {"learning.csv"}
    with (tmp_path / "learning.csv").open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert [(line["group"], line["algorithm"], line["seeds"]) for line in lines] == [
        ("none", "maml", "2"),
        ("grid #4 · cut in both", "maml", "2"),
        ("grid #4 · cut in test only", "maml", "2"),
    ]
    assert float(lines[0]["psnr_2"]) == pytest.approx((after(2, 1, 0) + after(2, 1, 1)) / 2)
    monkeypatch.setattr("partinr.report.figures.drawn", lambda *_: b"")
    both = {path.name for path in write_figures(collect([learned, *study.glob("coffee-01-*")]), tmp_path / "both")}
    assert {"table.csv", "learning.csv", "curve-coffee-steps.pdf"} <= both
    assert not any(name.startswith("curve-smooth") for name in both)


# -- the page -------------------------------------------------------------------------------------------------------


def test_the_page_of_learned_initialisations_has_no_tables_of_fits(learned, tmp_path):
    page = make_report([learned], tmp_path / "report.html").read_text(encoding="utf-8")
    assert 'id="section-learning"' in page
    assert 'id="results"' not in page
    assert "6 runs in 3 groups on 1 set of held-out signals" in page
    assert re.search(r'data-key="psnr_2" data-group="no partition"[^>]* data-n="2"', page)


def test_the_page_of_fits_says_nothing_of_them(study, tmp_path):
    page = make_report([study], tmp_path / "report.html").read_text(encoding="utf-8")
    assert 'id="section-learning"' not in page
    assert "24 runs in 8 groups on 2 images" in page


@pytest.mark.browser
def test_the_curves_are_drawn_and_the_page_fits_its_window(chromium, learned, study, tmp_path):
    page = chromium(make_report([learned, study], tmp_path / "report.html"))
    plot = "document.querySelector(`[data-of=learning][data-curve=${which}]`)"
    means = f"which => {plot}.data.filter(trace => trace.meta === 'mean')"
    outer, inner = page.evaluate(means, "curve"), page.evaluate(means, "inner")
    worded = [group.title for group in Study.of(collect([learned]), SECTION).groups]
    assert [mean["name"] for mean in outer] == [mean["name"] for mean in inner] == worded
    assert outer[0]["x"] == [0, 1, 10, 100]
    assert inner[0]["x"] == list(range(6))
    rings = (
        "document.querySelector('[data-of=learning][data-curve=inner]').data.filter(trace => trace.meta === 'crossing')"
    )
    assert [ring["x"] for ring in page.evaluate(rings)] == [[2]] * 3
    fits = "document.getElementById('curve').layout.xaxis.title.text"
    assert page.evaluate(fits) == "optimiser steps"
    page.locator("#section-learning").get_by_text("seconds", exact=True).click()
    assert page.evaluate(means, "curve")[0]["x"] == pytest.approx([0, 0.1, 1, 10])
    # The curves of the fits stay as they were.
    assert page.evaluate(fits) == "optimiser steps"
    assert page.locator(".sheet img").evaluate_all("all => all.every(img => img.naturalWidth > 0)")
    for width in (1280, 800, 400):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_function("w => document.querySelector('#curve .main-svg').clientWidth <= w", arg=width)
        assert page.evaluate("document.documentElement.scrollWidth") == width


# -- fits from a learned start --------------------------------------------------------------------------------------


def curve(*psnr):
    blank = dict.fromkeys(CURVE_COLUMNS, 0)
    return [{**blank, "step": 10 * i, "seconds": 2.0 * i, "psnr": float(p)} for i, p in enumerate(psnr)]


def test_a_learned_start_is_measured_against_a_random_one(write_run, tmp_path):
    write_run(tmp_path / "a", regions=4, rows=curve(5, 10, 20, 30))
    write_run(tmp_path / "b", regions=4, rows=curve(20, 30, 32, 33), settings={"init": "outputs/runs/x"})
    found = Study.of(collect([tmp_path]))
    assert [group.label for group in found.groups] == ["learned start", "random start"]
    learned, random = rows(found)
    assert learned.cells["random_step_ratio"].text == learned.cells["random_time_ratio"].text == "3.00"
    assert random.cells["random_step_ratio"].text == "–"
    page = make_report([tmp_path], tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Speed-up to random start" in page


def test_without_a_learned_start_nothing_is_said_of_it(write_run, tmp_path):
    # A run of before there was such a key, and one of after.
    write_run(tmp_path / "a", seed=0)
    write_run(tmp_path / "b", seed=1, settings={"init": None})
    (row,) = rows(Study.of(collect([tmp_path])))
    assert (row.group.label, row.group.n) == ("none", 2)
    assert "random_step_ratio" not in row.cells


def test_starts_of_several_runs_are_told_apart(write_run, tmp_path):
    for name, init in (("a", "runs/x"), ("b", "runs/y"), ("c", None)):
        write_run(tmp_path / name, regions=4, settings={"init": init})
    labels = [group.label for group in Study.of(collect([tmp_path])).groups]
    assert labels == ["grid #4 · learned start x", "grid #4 · learned start y", "random start"]


def test_the_lone_network_of_a_learned_start_has_learned_too(write_run, tmp_path):
    for regions, end in ((1, 20), (4, 40)):
        for init in (None, f"runs/{regions}"):
            name = f"{regions}-{init is None}"
            write_run(tmp_path / name, regions=regions, rows=curve(0, end), settings={"init": init})
    found = Study.of(collect([tmp_path]))
    lones = {group.label: versus.lone.label for group in found.groups if (versus := found.versus(group))}
    assert set(lones) == {f"{part} · {start} start" for part in ("none", "grid #4") for start in ("learned", "random")}
    assert all(("learned" in label) == ("learned" in lone) for label, lone in lones.items())


def test_the_table_for_documents_has_inner_steps_and_is_apart_from_fits(learned, study, tmp_path):
    text = make_table([learned])
    (heading, _, *lines) = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    assert [name for name in heading if "after" in name] == [f"PSNR dB after {step}" for step in (0, 1, 2, 5)]
    assert len(lines) == len(names(learned))
    both = make_table([learned, study])
    # Two tables, each with the rows that it has alone.
    assert sum(line.startswith("| --- ") for line in both.splitlines()) == 2
    assert set(text.splitlines()) | set(make_table([study]).splitlines()) == set(both.splitlines())
    with pytest.raises(PartinrError, match="a CSV file holds one table"):
        make_table([learned, study], tmp_path / "table.csv")
    make_table([learned], tmp_path / "table.csv")
    write_figures(collect([learned]), tmp_path)
    assert (tmp_path / "table.csv").read_text() == (tmp_path / "learning.csv").read_text()

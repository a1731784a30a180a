"""Runs of other signals than images: their words, their leading metric, and what observations must not mix."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from partinr.report import collect, make_report, make_table
from partinr.report.columns import columns_of
from partinr.report.groups import studies_of
from partinr.report.significance import marked
from partinr.report.table import rows
from partinr.report.tiles import tiles_of
from partinr.runs.subject import PSNR, Subject
from partinr.signals.kinds import AudioKind, VolumeKind

from .conftest import WriteRun, realistic_curve

SILENCE = 6.0
"""What the SNR of a sound is below its PSNR [dB]."""


@pytest.fixture
def sounds(write_run: WriteRun, tmp_path: Path) -> Path:
    """Two runs on a sound, without and with a partition."""
    for regions in (1, 9):
        curve = [
            {**row, "ssim": float("nan"), "snr": row["psnr"] - SILENCE} for row in realistic_curve(regions, 0, 1500)
        ]
        signal = {"name": "bach", "shape": [8000, 1], "sha256": "b", **AudioKind(rate=8000).describe([8000])}
        facts: dict[str, Any] = {"signal": signal, "metrics": {key: curve[-1][key] for key in ("psnr", "snr")}}
        write_run(tmp_path / str(regions), image="bach", regions=regions, rows=curve, facts=facts)
    return tmp_path


def test_the_metric_that_the_kind_names_leads(sounds: Path, write_run: WriteRun, tmp_path: Path) -> None:
    records = collect([sounds])
    study = studies_of(records)[0]
    columns = [column.key for column in columns_of(study)]
    assert columns.index("snr") + 1 == columns.index("psnr")
    assert {"steps_15", "cpu_30"} < set(columns)
    assert "steps_35" not in columns
    lone, grid = study.groups
    versus = study.versus(grid)
    assert versus is not None
    ends = [lone.records[0].final(metric) for metric in ("snr", "psnr")]
    assert [versus.level, versus.level + SILENCE] == pytest.approx(ends)
    steps = tiles_of(rows(study))[0]
    assert steps.note.startswith(f"to the {versus.level:.2f} dB of the runs with")
    # Of images and sounds together, PSNR is what both have.
    write_run(tmp_path / "image")
    assert studies_of(collect([tmp_path]))[0].subject == Subject(("signal", "signals"), PSNR)


def test_pages_and_tables_call_things_by_their_names(sounds: Path) -> None:
    page = make_report([sounds], sounds / "report.html").read_text(encoding="utf-8")
    said = re.sub(r"<[^>]*>", " ", page)
    assert "on 1 sound " in said
    assert "SNR to reach" in said
    assert "Speed-up to lone SNR" in said
    assert "0 to 1 s; frequencies from 0 to 4 kHz" in said
    assert "Lone SNR: that at which" in make_table([sounds])


def test_a_run_of_an_older_version_is_one_of_images_or_signals() -> None:
    assert Subject.of({}) == Subject()
    assert Subject.of({"signal": {"picture": False}}) == Subject(("signal", "signals"))
    assert Subject.of({"signal": VolumeKind().describe()}).words == ("volume", "volumes")


def test_the_best_numbers_are_those_among_fits_that_see_the_same(write_run: WriteRun, tmp_path: Path) -> None:
    noise = {"observe": {"_target_": "partinr.signals.observations.Noise", "sigma": 0.1}}
    for name, hardness, settings in (("whole", 1.0, None), ("noisy", 1.3, noise)):
        for regions in (1, 9):
            write_run(tmp_path / f"{name}{regions}", regions=regions, hardness=hardness, settings=settings)
    study = studies_of(collect([tmp_path]))[0]
    found, rule = marked(rows(study), columns_of(study))
    best = {row.group.label: row.cells["psnr"].best for row in found}
    assert sum(best.values()) == 2
    assert {bool(row.group.seen) for row in found if row.cells["psnr"].best} == {True, False}
    assert rule.endswith("Fits are compared with those that see the same of the signal.")

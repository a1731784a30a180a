"""Regimes that tell the report what to show, by data in run.json and by a section of their own."""

import re
import subprocess
import sys

import pytest

from partinr.base.errors import PartinrError
from partinr.base.section import field, fill, lookup
from partinr.report import collect, make_report, make_table, write_figures
from partinr.report.groups import studies_of
from partinr.runs.regime_facts import RegimeFacts

HIDDEN = field("psnr_hidden", "hidden pixels", "metrics.psnr_hidden", better="high", short="PSNR of hidden pixels")


def inpaint(**further):
    """What the runs of a third party's regime say: it fits signals, and has a column more."""
    regime = {"kind": "inpaint", "table": [HIDDEN], **further}
    return {"regime": regime, "metrics": {"psnr": 30.0, "ssim": 0.9, "psnr_hidden": 21.5}}


def test_paths_and_templates():
    manifest, config = {"metrics": {"psnr": 30.128}, "steps": 1500, "list": [1, 2]}, {"regime": {"kind": 3}}
    assert lookup("metrics.psnr", manifest, config) == 30.128
    assert lookup("list.1", manifest, config) == 2
    assert lookup("config.regime.kind", manifest, config) == 3
    for path in ("metrics.psnr.further", "list.2", "list.x", "nothing", "config.nothing.at.all"):
        assert lookup(path, manifest, config) is None
    said = fill("{run}: {metrics.psnr|fixed:2} dB after {steps|fixed:0} steps, {nothing}", manifest, config, "a/b")
    assert said == "a/b: 30.13 dB after 1,500 steps, –"


def test_runs_that_fit_are_in_one_study_whatever_their_regime(write_run, tmp_path):
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", settings={"regime._target_": "pack.InpaintSettings"}, facts=inpaint())
    (study,) = studies_of(collect([tmp_path]))
    assert {group.label for group in study.groups} == {"fit", "inpaint_settings"}
    assert "PSNR of hidden pixels" in make_table([tmp_path])
    page = make_report([tmp_path], tmp_path / "report.html").read_text(encoding="utf-8")
    assert re.search(r'data-key="psnr_hidden" data-group="inpaint_settings"[^>]*data-value="21.5"', page)


def test_a_section_that_is_gone_leaves_the_numbers_and_a_notice(write_run, tmp_path, monkeypatch):
    write_run(tmp_path / "a")
    for seed in range(2):
        write_run(tmp_path / f"b{seed}", seed=seed, facts=inpaint(section="gone.Section"))
    fits, other = studies_of(collect([tmp_path]))
    assert (len(fits.groups), len(other.groups)) == (1, 1)
    assert fits.versus(fits.groups[0]) is None
    page = make_report([tmp_path], tmp_path / "report.html").read_text(encoding="utf-8")
    assert "this regime&#39;s part of the report cannot be loaded (No module named &#39;gone&#39;)" in page
    assert re.search(r'data-key="psnr_hidden"[^>]*data-value="21.5" data-std="0.0" data-n="2"', page)
    assert make_table([tmp_path]).count("| --- ") == 2
    monkeypatch.setattr("partinr.report.figures.drawn", lambda *_: b"")
    assert {"other-inpaint.csv", "table.csv"} <= {path.name for path in write_figures(collect([tmp_path]), tmp_path)}


@pytest.mark.browser
def test_the_page_draws_a_section_that_is_gone(chromium, write_run, tmp_path):
    write_run(tmp_path / "a", facts=inpaint(section="gone.Section"))
    page = chromium(make_report([tmp_path], tmp_path / "report.html"))
    assert page.evaluate("document.querySelector('[data-of=other-inpaint]').data.length") >= 1
    assert page.locator(".further article img").count() == 4


def test_runs_with_a_report_of_their_own_are_left_out(write_run, tmp_path):
    instead = {"report": "see: partinr look {run}"}
    write_run(tmp_path / "a", facts=inpaint(instead=instead))
    with pytest.raises(PartinrError, match=f"see: partinr look {tmp_path}"):
        make_report([tmp_path])
    write_run(tmp_path / "b")
    assert 'data-runs="1"' in make_report([tmp_path], tmp_path / "report.html").read_text(encoding="utf-8")


def test_older_runs_are_known_by_the_keys_of_their_regime():
    assert RegimeFacts.of({}, {"regime": {"_target_": "partinr.regimes.FitSettings"}}).kind == "fit"
    learned = RegimeFacts.of({}, {"regime": {"inner_steps": 2, "validation_steps": 5}})
    assert set(learned.files) == {"start", "sheet"}
    assert [column["key"] for column in learned.summary] == ["psnr_0", "psnr_2", "psnr_5", "ssim"]
    study = RegimeFacts.of({}, {"regime": {"threshold": 0.05}})
    assert set(study.files) == {"trials"}
    assert "report" in study.instead


def test_reports_and_sections_need_no_torch():
    rooms = ("report", "report.page", "runs.regime_facts", "regimes.meta.report", "regimes.threshold.report")
    modules = ", ".join(f"partinr.{each}" for each in rooms)
    code = f"import sys, {modules}; print({{'torch', 'lightning'}} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"

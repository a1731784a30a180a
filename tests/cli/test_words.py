"""Subcommands and flags besides Hydra's: help, version, doctor, render, report, and terminal output."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import pty
import re
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import partinr as api
from partinr.cli import doctor
from partinr.experiment.conf import conf_dir

ROOT = Path(__file__).parents[2]


# -- help ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_names_every_group_choice_and_command(partinr: Any, flag: str) -> None:
    answer = partinr(flag)
    assert (answer.code, answer.err) == (0, "")
    unwrapped = re.sub(r"\n {8,}", " ", answer.out)
    for path in conf_dir().glob("*/*.yaml"):
        if path.parent.name != "local":
            assert re.search(rf"^  {path.parent.name} .*\b{path.stem}\b", unwrapped, re.MULTILINE), path
    assert re.search(r"^  demo +The demo: one network against nine", answer.out, re.MULTILINE)
    for command in ("doctor", "partitions", "render", "report", "resume"):
        assert re.search(rf"^  {command}  ", answer.out, re.MULTILINE)
        assert partinr(command, flag).out.startswith(f"Usage: partinr {command} ")
    assert max(map(len, answer.out.splitlines())) <= 100
    # What it promises is there.
    composed = yaml.safe_load(partinr("--cfg", "job", "+data.zoom=1").out)
    for key in re.findall(r"\b(?:\w+\.)+\w+\b", answer.out.partition("Keys (")[2].partition("hydra.run.dir")[0]):
        node = composed
        for part in key.split("."):
            assert part in node, key
            node = node[part]


def test_help_and_version_do_not_wait_for_torch() -> None:
    code = (
        "import sys, partinr.cli\n"
        "for flag in ('--help', '--version'):\n"
        "    try: partinr.cli.main([flag])\n"
        "    except SystemExit: pass\n"
        "print(*sorted({'torch', 'lightning', 'hydra', 'pydantic', 'plotly'} & set(sys.modules)), 'loaded')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded"


def test_version(partinr: Any) -> None:
    assert partinr("--version").out == f"partinr {api.__version__}\n"


def test_cfg_prints_the_config_and_stops(tiny: Any) -> None:
    answer = tiny("--cfg", "job", "optimizer=sgd")
    assert (answer.code, answer.err) == (0, "")
    composed = yaml.safe_load(answer.out)
    assert composed["optimizer"]["name"] == "sgd"
    assert "  lr: 0.01  # learning rate\n" in answer.out
    assert composed["data"]["size"] == 16
    assert not list(Path().iterdir())


# -- doctor -------------------------------------------------------------------------------------------------------


def test_doctor_says_that_all_is_well(partinr: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    answer = partinr("doctor")
    assert answer.code == 0, answer.out
    assert answer.out.endswith("\nall is well\n")
    assert all(line.startswith(("ok ", "--   extra ")) for line in answer.out.splitlines()[:-2])
    assert re.search(rf"^ok +partinr +{re.escape(api.__version__)}$", answer.out, re.MULTILINE)
    assert re.search(rf"^ok +torch +{re.escape(torch.__version__)}$", answer.out, re.MULTILINE)
    assert re.search(rf"^ok +configuration +{re.escape(str(conf_dir()))}$", answer.out, re.MULTILINE)


def test_doctor_looks_at_what_is_required() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    required = {re.match(r"[\w-]+", requirement)[0] for requirement in project["dependencies"]}  # type: ignore[index]
    assert {distribution for distribution, _, _ in doctor._PACKAGES} - required <= {"torchvision"}


def test_doctor_says_what_is_broken_and_the_cure(partinr: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    partinr("doctor")  # what other packages import while they load must not break
    load, find, version = importlib.import_module, importlib.util.find_spec, importlib.metadata.version

    def broken(name: str, *rest: Any) -> Any:
        if name in ("torch", "plotly"):
            raise OSError("lib[/x].so: cannot open [bold] shared object file")
        return load(name, *rest)

    def absent(name: str, *rest: Any) -> Any:
        if name in ("safetensors",):
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name, *rest)

    monkeypatch.setattr(importlib, "import_module", broken)
    monkeypatch.setattr(importlib.metadata, "version", absent)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "safetensors" else find(name))
    answer = partinr("doctor")
    assert answer.code == 1
    lines = answer.out.splitlines()
    for name, found, cure in [
        ("torch", r"lib\[/x\].so: cannot open \[bold\] shared object file", "pip install --force-reinstall torch"),
        ("plotly", r"lib\[/x\].so: .*", "pip install --force-reinstall plotly"),
        ("safetensors", r"not installed \(fitted models\)", "pip install safetensors"),
    ]:
        (at,) = [number for number, line in enumerate(lines) if re.fullmatch(rf"bad +{name} +{found}", line)]
        assert lines[at + 1].strip() == f"→ {cure}"
    assert lines[-1] == "3 amiss"


def test_doctor_runs_where_torch_does_not(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise OSError('libtorch_cpu.so: cannot open shared object file')\n")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    done = subprocess.run(
        [sys.executable, "-m", "partinr", "doctor"], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (1, "")
    assert "bad  device" in done.stdout
    assert re.search(r"bad +torch +libtorch_cpu.so: cannot open", done.stdout)
    assert "→ pip install --force-reinstall torch" in done.stdout
    assert re.search(r"ok +configuration ", done.stdout)


# -- render, report -----------------------------------------------------------------------------------------------


def test_render_draws_at_any_scale(partinr: Any, finished: Path) -> None:
    for scale, side in [(None, 16), ("2", 32), ("0.5", 8), ("1.3", 21)]:
        answer = partinr("render", finished, *(["--scale", scale] if scale else []), "-o", "folder/x.png")
        assert (answer.code, answer.err) == (0, "")
        assert answer.out == f"folder/x.png  {side}×{side}\n"
        with Image.open("folder/x.png") as picture:
            shown = np.asarray(picture) / 255
        assert shown.shape == (side, side, 3)
        wanted = api.load(finished).render(float(scale or 1)).numpy()
        assert np.abs(shown - wanted).max() <= 0.51 / 255


def test_report_writes_where_it_says(partinr: Any, finished: Path, copy_of: Any) -> None:
    run = copy_of(finished)
    answer = partinr("report", run, "-o", "page.html", "--title", "Mine & yours")
    assert (answer.code, answer.out, answer.err) == (0, "report   page.html\n", "")
    assert "Mine &amp; yours" in Path("page.html").read_text(encoding="utf-8")
    answer = partinr("report", run)
    assert answer.out == f"report   {run / 'report.html'}\n"
    assert (run / "report.html").exists()


# -- the terminal -------------------------------------------------------------------------------------------------

ESCAPE = re.compile(r"\x1b")


def test_the_output_of_a_pipe_is_plain_and_narrow(tiny: Any, pictures: Path) -> None:
    name = "a-rather-long-name-of-a-photograph-as-they-come-from-a-camera-2026-11-23"
    Path(f"{name}.png").write_bytes((pictures / "good.png").read_bytes())
    answer = tiny("-m", "seed=0,1", f"data.path={name}.png", "hydra.sweep.dir=sweep")
    assert (answer.code, answer.err) == (0, "")
    assert not ESCAPE.search(answer.out)
    table = answer.out[answer.out.index("run ") :]
    assert max(map(len, table.splitlines())) <= 100
    answer = tiny("hydra.run.dir=run")
    assert not ESCAPE.search(answer.out)
    assert "report   partinr report run\n" in answer.out
    assert "run      run  (reconstruction.png, partition.png, error.png)\n" in answer.out


@pytest.mark.slow
def test_it_is_a_module_and_speaks_to_a_terminal(tmp_path: Path) -> None:
    words = ["data.size=16", "partition.regions=4", "backbone.match_params=500", "max_steps=1000000"]
    pid, screen = pty.fork()
    if pid == 0:  # the child
        environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "PYTHONPATH": str(ROOT)}
        os.execvpe(sys.executable, [sys.executable, "-m", "partinr", *words, "hydra.run.dir=run"], environment)
    seen, end = b"", time.monotonic() + 120
    while b"points/s" not in seen:
        assert time.monotonic() < end, seen
        seen += os.read(screen, 65536)
    os.kill(pid, signal.SIGINT)
    try:
        while piece := os.read(screen, 65536):
            seen += piece
    except OSError:  # Linux's word for the end of a terminal
        pass
    os.close(screen)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 130
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode())
    lines = [line.strip() for line in re.split(r"[\r\n]+", text) if line.strip()]
    assert re.search(r"4 regions .*step [\d,]+/1,000,000  \d+\.\d\d dB  [\d.]+[kM]? points/s  \d+:\d\d left", text)
    assert max(map(len, lines)) <= 100
    assert "interrupted: astronaut grid siren: stopped with Ctrl-C" in lines
    assert "continue with: partinr resume run" in lines
    assert lines[-1] == "report   partinr report run"
    assert seen.count(b"\x1b[?25l") == seen.count(b"\x1b[?25h") > 0  # the cursor is back

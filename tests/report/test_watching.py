import json
import os
import signal
import subprocess
import sys
import time

import pytest

from partinr.report import watch_runs
from partinr.report import watching as module
from partinr.runs import records
from partinr.runs.layout import CURVE, MANIFEST

LIVE = "data-refresh="


@pytest.fixture
def watched(monkeypatch, tmp_path):
    """Watches runs, with things to do in place of the pauses; gives the lines, which runs were read, and the pages."""

    def watch(folder, *pauses):
        lines: list[str] = []
        read: list[str] = []
        pages: list[str] = []
        once, page = records._read, tmp_path / "report.html"

        def read_one(run):
            read.append(run.path.name)
            return once(run)

        monkeypatch.setattr(records, "_read", read_one)

        def pause(seconds):
            pages.append(page.read_text(encoding="utf-8"))
            read.append("|")
            assert len(pages) <= len(pauses), "it should have ended"
            pauses[len(pages) - 1]()

        monkeypatch.setattr(module.time, "sleep", pause)
        watch_runs([folder], page, 7, lines.append)
        pages.append(page.read_text(encoding="utf-8"))
        return [line.partition("  ")[2] for line in lines], " ".join(read), pages

    return watch


def complete(run):
    manifest = json.loads((run / MANIFEST).read_text())
    (run / MANIFEST).write_text(json.dumps({**manifest, "status": "completed"}))


def nothing():
    pass


def interrupt():
    raise KeyboardInterrupt


def test_only_what_changed_is_read_again_and_a_line_says_when_states_change(watched, write_run, tmp_path):
    done, runs = write_run(tmp_path / "s" / "a"), write_run(tmp_path / "s" / "b", seed=1, status="running", steps=50)
    waits = tmp_path / "s" / "c"
    waits.mkdir()
    (waits / MANIFEST).write_text(json.dumps({"format": 1, "status": "queued"}))
    lines, read, pages = watched(
        tmp_path / "s",
        nothing,
        lambda: (runs / CURVE).write_bytes((done / CURVE).read_bytes()),
        lambda: (complete(runs), complete(waits), write_run(tmp_path / "s" / "d", seed=3)),
        lambda: (waits / MANIFEST).unlink(),
        nothing,
    )
    assert lines == [
        "1 completed, 1 running, 1 queued",
        "3 completed, 1 damaged",
        "3 completed",
    ]
    assert read == "a b c | | b | b c d | |"
    assert [LIVE in page for page in pages] == [True] * 5 + [False]
    assert pages[0] == pages[1]


def test_ctrl_c_is_the_way_to_end_it(watched, write_run, tmp_path):
    write_run(tmp_path / "s" / "a", status="running", steps=50)
    lines, _, pages = watched(tmp_path / "s", interrupt)
    assert lines == ["1 running"]
    assert [LIVE in page for page in pages] == [True, False]


def test_a_run_whose_process_has_died_is_seen_without_a_change_of_its_files(watched, write_run, tmp_path, monkeypatch):
    write_run(tmp_path / "s" / "a", status="running", steps=50)
    dead = property(lambda run: False)
    lines, _, _ = watched(tmp_path / "s", lambda: monkeypatch.setattr(records.RunDirectory, "alive", dead), nothing)
    assert lines == ["1 running", "1 interrupted"]


@pytest.mark.slow
def test_the_command_ends_with_0_at_ctrl_c(write_run, tmp_path):
    write_run(tmp_path / "s" / "a", status="running", steps=50)
    command = [sys.executable, "-m", "partinr", "report", "s", "--watch", "1"]
    # Where these tests run in the background of a shell, Ctrl-C is ignored, and by children too.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True, env={**os.environ})
    finally:
        signal.signal(signal.SIGINT, before)
    with process:
        assert process.stdout is not None
        assert "1 running" in process.stdout.readline()
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
    assert (process.returncode, rest) == (0, "report   s/report.html\n")
    assert LIVE not in (tmp_path / "s" / "report.html").read_text(encoding="utf-8")

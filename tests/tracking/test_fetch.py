"""``partinr rerun wandb:…``: W&B's client reads a recorded answer from a server of the test."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from partinr.runs.directory import RunDirectory

ANSWERS = json.loads((Path(__file__).parents[1] / "fixtures/wandb/run.json").read_text())
"""The answer to each GraphQL query of W&B's client, for a run with the config of an older version."""

Serve = Callable[..., None]


def one_line(text: str, expected: str) -> None:
    assert text.startswith("partinr: error: "), text
    assert text.count("\n") == 1, text
    assert re.search(expected, text), text


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch, fresh: None) -> Iterator[Serve]:
    """``serve(**changes)`` starts a server with the recorded answers, except for changed ones, and logs in there."""
    started = []

    def start(**changes: Any) -> None:
        class Answering(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["query"]
                name = next(word for word in query.split("query ", 1)[1].replace("(", " ").split())
                content = json.dumps({"data": {**ANSWERS, **changes}[name]}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *arguments: Any) -> None:
                """Nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
        started.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("WANDB_API_KEY", "0123456789" * 4)

    yield start
    for server in started:
        server.shutdown()
        server.server_close()


def changed(**entries: Any) -> dict[str, Any]:
    """The recorded run with other entries."""
    return {"project": {"run": {**ANSWERS["Run"]["project"]["run"], **entries}}}


def test_a_run_is_made_again_from_its_config(partinr: Any, serve: Serve) -> None:
    serve()
    answer = partinr("rerun", "wandb:ada/partinr/q1w2e3r4")
    # Another machine may round the sums differently.
    assert answer.code in (0, 1), answer.err
    assert ("same     the 3 rows" if answer.code == 0 else "differs  curve.csv") in answer.out
    assert "git.commit: 000000000000…, now " in answer.out
    again = RunDirectory(Path("outputs/runs/wandb_q1w2e3r4_rerun"))
    manifest, config = again.manifest(), again.config()
    assert manifest["status"] == "completed"
    summary = json.loads(ANSWERS["Run"]["project"]["run"]["summaryMetrics"])
    assert manifest["metrics"]["psnr"] == pytest.approx(summary["psnr"], abs=1e-3)
    assert (manifest["parameters"], manifest["steps"]) == (summary["parameters"], summary["steps"])
    assert config["data"]["_target_"] == "partinr.signals.ImageData"
    assert config["output_dir"] == str(Path("~/outputs").expanduser())
    assert not config.keys() & {"method", "partition_name", "_wandb"}


def test_without_a_curve(partinr: Any, serve: Serve) -> None:
    serve(RunFullHistory={"project": {"run": {"history": []}}})
    answer = partinr("rerun", "wandb:ada/partinr/q1w2e3r4", "-o", "again")
    assert (answer.code, answer.err) == (0, "")
    assert "nothing is compared: W&B has no curve of wandb:ada/partinr/q1w2e3r4" in answer.out


@pytest.mark.parametrize(
    ("place", "answers", "said"),
    [
        ("ada/partinr/gone", {"Run": {"project": {"run": None}}}, "Could not find run .*; give ENTITY/PROJECT/RUN"),
        ("a/b/c/d/e", {}, "Invalid path: 'a/b/c/d/e'.*; give ENTITY/PROJECT/RUN"),
        ("a/b/c", {"Run": changed(config='{"lr": {"value": 1}}')}, "a/b/c is no run of partinr on W&B"),
        ("a/b/c", {"Run": changed(state="running")}, "wandb:a/b/c is still running"),
    ],
)
def test_refusals(partinr: Any, serve: Serve, place: str, answers: Any, said: str) -> None:
    serve(**answers)
    answer = partinr("rerun", f"wandb:{place}")
    assert answer.code == 2
    one_line(answer.err, said)
    assert not Path("outputs").exists()


def test_a_file_that_is_elsewhere(partinr: Any, serve: Serve) -> None:
    config = json.loads(ANSWERS["Run"]["project"]["run"]["config"])
    config["data"]["value"] = {"_target_": "partinr.signals.ImageData", "path": "/gone/photo.png", "size": 16}
    serve(Run=changed(config=json.dumps(config)))
    answer = partinr("rerun", "wandb:a/b/c")
    assert answer.code == 2
    one_line(answer.err, "data.path=/gone/photo.png is not there; .*: partinr rerun wandb:a/b/c --set data.path=PLACE")


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, "there is no W&B login"),
        (
            {"WANDB_API_KEY": "0123456789" * 4, "WANDB_BASE_URL": "http://127.0.0.1:9"},
            "W&B cannot be reached: nobody answers at http://127.0.0.1:9",
        ),
    ],
)
def test_without_login_or_server(
    partinr: Any, fresh: None, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], said: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    answer = partinr("rerun", "wandb:a/b/c")
    assert answer.code == 2
    one_line(answer.err, said)

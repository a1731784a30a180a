"""W&B's own variables, as W&B's offline file tells what became of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from partinr.tracking.sync import settings_of

SAID = {
    "WANDB_PROJECT": "mine",
    "WANDB_ENTITY": "us",
    "WANDB_RUN_GROUP": "2026_1",
    "WANDB_JOB_TYPE": "trial",
    "WANDB_NAME": "first",
    "WANDB_NOTES": "why, and how",
    "WANDB_TAGS": "a, b",
    "WANDB_DIR": "files of W&B",
}


@pytest.fixture
def _said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SAID.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("_said")
def test_they_are_heeded_where_the_configuration_is_silent(
    tiny: Any, offline: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = tiny("experiment=demo", "data.size=16", "hydra.run.dir=run")
    assert answer.code == 0, answer.err
    assert answer.err.count("\n") == 1  # that W&B is offline
    assert not Path("run/wandb").exists()
    (kept,) = offline(Path("files of W&B"))
    assert (kept.run.project, kept.run.entity, kept.run.run_group) == ("mine", "us", "2026_1")
    assert (kept.run.job_type, kept.run.display_name, kept.run.notes) == ("trial", "first", "why, and how")
    assert list(kept.run.tags) == ["a", "b"]
    assert kept.exits == [0]
    # They stay with the run, wherever it goes on and whoever asks where it is filed.
    for name in SAID:
        monkeypatch.delenv(name)
    settings = settings_of(yaml.safe_load(Path("run/.hydra/config.yaml").read_text()))
    assert (settings.project, settings.tags, settings.dir) == ("mine", ["a", "b"], str(Path("files of W&B").absolute()))


@pytest.mark.usefixtures("_said")
def test_the_configuration_wins_and_a_line_says_so(tiny: Any, offline: Any) -> None:
    answer = tiny(
        "logger.project=theirs", "logger.tags=[c]", "logger.dir=here", "logger.entity=us", "hydra.run.dir=run"
    )
    assert answer.code == 0, answer.err
    first, second = answer.err.splitlines()
    assert first.startswith(
        "partinr: note: WANDB_PROJECT=mine, WANDB_TAGS=a, b, WANDB_DIR=files of W&B are not used, as "
    )
    assert first.endswith("the configuration has logger.project=theirs, logger.tags=['c'], logger.dir=here")
    assert "W&B is offline" in second
    (kept,) = offline(Path("here"))
    assert (kept.run.project, kept.run.entity, list(kept.run.tags)) == ("theirs", "us", ["c"])


def test_a_run_with_another_logger_is_sent_where_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    monkeypatch.setenv("WANDB_TAGS", "")
    settings = settings_of({"logger": {"_target_": "partinr.tracking.CurveOnly"}}, entity="us")
    assert (settings.project, settings.entity, settings.tags, settings.dir) == ("mine", "us", [], None)


@pytest.mark.parametrize("word", ["study=mine", "logger.group=mine", "logger.study=mine"])
def test_the_group_is_the_study_unless_given(tiny: Any, word: str) -> None:
    config = yaml.safe_load(tiny("--cfg", "job", "--resolve", word).out)
    assert settings_of(config).group == "mine"
    # partinr sync --group replaces it, by whichever name it was given.
    assert settings_of(config, group="theirs").group == "theirs"

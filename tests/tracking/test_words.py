import os
from pathlib import Path
from typing import Any

import pytest

from partinr.runs.regime_facts import RegimeFacts
from partinr.tracking.words import shown_config, words

FIT = {"_target_": "partinr.regimes.FitSettings"}
SIREN = {"_target_": "partinr.backbones.Siren"}


def told(config: dict[str, Any]) -> dict[str, str]:
    return words(config, RegimeFacts.of({}, config))


def test_partitions() -> None:
    for partition, word in [
        ({"_target_": "partinr.partition.Whole"}, "none"),
        ({"_target_": "partinr.partition.Grid", "regions": 9, "rows": None, "cols": None}, "grid #9"),
        ({"_target_": "partinr.partition.Grid", "regions": None, "rows": 2, "cols": 3}, "grid #6"),
        ({"_target_": "partinr.partition.Grid", "regions": "auto"}, "grid #auto"),
        ({"_target_": "mine.MyStripes"}, "my_stripes"),
    ]:
        found = told({"partition": partition, "backbone": SIREN, "regime": FIT})
        assert found == {
            "partition_name": word,
            "backbone_name": "siren",
            "regime_name": "fit",
            "method": f"{word} · siren · fit",
        }


def test_learning_to_learn() -> None:
    for used_in, word in [("both", "grid #4"), ("test", "grid #4 in test"), ("neither", "none")]:
        config = {
            "partition": {"_target_": "partinr.partition.Grid", "regions": 4},
            "backbone": SIREN,
            "regime": {"inner_steps": 3, "algorithm": "fomaml", "partition_in": used_in},
        }
        found = told(config)
        assert (found["partition_name"], found["regime_name"]) == (word, "fomaml")


def test_secrets_stay_and_home_is_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(Path("/home/ada")))
    config = {
        "data": {"path": f"{os.sep}home{os.sep}ada{os.sep}photo.png", "api_key": "x", "crops": [1]},
        "mine": {"token": "x", "db_password": "x", "tokens": 3, "list": ["/home/adam", "/home/ada"]},
        "SECRET": "x",
    }
    shown = shown_config(config, RegimeFacts("fit"))
    assert shown["data"] == {"path": f"~{os.sep}photo.png", "crops": [1]}
    assert shown["mine"] == {"tokens": 3, "list": ["/home/adam", "~"]}
    assert "SECRET" not in shown


def test_a_home_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for home in ["", "/", "relative"]:
        monkeypatch.setenv("HOME", home)
        assert shown_config({"data": {"path": "/photo.png", "name": ""}}, RegimeFacts("fit"))["data"] == {
            "path": "/photo.png",
            "name": "",
        }

"""What is kept of Hydra's composing changes no result, and an edit is seen."""

import pickle
from collections.abc import Sequence
from pathlib import Path

import hydra
import pytest
from hydra._internal import config_loader_impl
from hydra._internal import hydra as hydra_itself
from hydra._internal.defaults_list import create_defaults_list
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import Container, DictConfig, Node

from partinr.experiment import composing
from partinr.experiment.conf import conf_dir
from partinr.experiment.hydra_errors import search_plugins
from partinr.experiment.names import register_resolvers


@pytest.fixture(autouse=True)
def _registered() -> None:
    register_resolvers()
    search_plugins()


def compose(overrides: Sequence[str], folder: Path | None = None, name: str = "train") -> DictConfig:
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(folder or conf_dir())):
        return hydra.compose(name, list(overrides), return_hydra_config=True)


def plain(overrides: Sequence[str]) -> DictConfig:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hydra_itself, "ConfigLoaderImpl", config_loader_impl.ConfigLoaderImpl)
        patch.setattr(config_loader_impl, "create_defaults_list", create_defaults_list)
        return compose(overrides)


def described(node: Node) -> object:
    """A node with its types and flags and those of all below it."""
    inner: object = node._value()
    if isinstance(node, Container) and isinstance(inner, dict | list):
        inner = [
            (key, described(each)) for key, each in (inner.items() if isinstance(inner, dict) else enumerate(inner))
        ]
    return {**vars(node._metadata), "resolver_cache": None}, inner  # what ${now:} was


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["partition=none", "backbone.omega_0=20"],
        ["experiment=paper_siren_table", "size=small", "case=semantic_9", "max_steps=3"],
        ["~schedule", "optimizer=sgd", "+trainer.new={a: [1]}", "hydra/launcher=submitit_local"],
    ],
    ids=" ".join,
)
def test_it_is_what_hydra_composes(overrides: list[str]) -> None:
    expected = described(plain(overrides))
    first, again = compose(overrides), compose(overrides)
    again.backbone = {"seed": again.seed}  # nothing is shared with what is kept
    for found in (first, compose(overrides)):
        assert described(found) == expected
    assert all(pickle.loads(each)._metadata.resolver_cache == {} for each in composing._merged.values())


def test_other_values_of_the_same_choices_are_not_merged_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    compose(["partition=none"])
    monkeypatch.setattr(composing.ConfigLoaderImpl, "_load_single_config", None)
    monkeypatch.setattr(composing, "create_defaults_list", None)
    assert compose(["seed=3", "partition=none"]).seed == 3


def test_an_edit_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(name: str, text: str) -> None:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)

    def found(*overrides: str) -> dict[str, object]:
        composed = compose(overrides, tmp_path, "root")
        return {str(key): composed[key] for key in composed if key != "hydra"}

    write("root.yaml", "defaults:\n- a: one\n- optional b: own\n- _self_\nx: 1\n")
    write("a/one.yaml", "y: 1\n")
    write("a/two.yaml", "y: 2\n")
    assert found() == {"a": {"y": 1}, "x": 1}
    write("a/one.yaml", "y: 3\n")  # as long as before, perhaps at the same time
    assert found() == {"a": {"y": 3}, "x": 1}
    write("b/own.yaml", "z: 4\n")
    assert found() == {"a": {"y": 3}, "b": {"z": 4}, "x": 1}
    write("root.yaml", "defaults:\n- a: two\n- optional b: own\n- _self_\nx: 1\n")
    assert found() == {"a": {"y": 2}, "b": {"z": 4}, "x": 1}
    (tmp_path / "b/own.yaml").unlink()
    assert found() == {"a": {"y": 2}, "x": 1}
    assert found("a=one") == {"a": {"y": 3}, "x": 1}
    write("a/one.yaml", "y: [\n")
    with pytest.raises(Exception, match=r"one\.yaml.*, line 2"):
        found("a=one")
    (tmp_path / "a/two.yaml").unlink()
    with pytest.raises(HydraException, match="a/two"):
        found()


def test_what_depends_on_more_than_files_is_followed_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/one.yaml").write_text("y: 1\n")
    (tmp_path / "a/two.yaml").write_text("y: 2\n")
    (tmp_path / "root.yaml").write_text("defaults:\n- a: ${oc.env:WHICH}\n- stored\n- _self_\n")
    for which, y, z in (("one", 1, 1), ("two", 2, 1), ("two", 2, 5)):
        monkeypatch.setenv("WHICH", which)
        ConfigStore.instance().store("stored", {"z": z})
        composed = compose([], tmp_path, "root")
        assert (composed.a.y, composed.z) == (y, z)
    ConfigStore.instance().repo.pop("stored.yaml")

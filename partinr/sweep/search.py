"""Optuna's searches, kept in the folder of their sweep, so that the same command continues them.

The file has the trials that were requested; their results are in the run directories. The database of the Optuna that
Hydra's sweeper needs does not open with SQLAlchemy 2.
"""

from __future__ import annotations

import functools
import json
import random
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.plugins import Plugins
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from partinr.base.errors import PartinrError
from partinr.base.files import write_atomically
from partinr.base.later import Later
from partinr.base.terminal import terminal

optuna: Any = Later("optuna")
"""Seconds to import, and only there with the extra ``optuna``."""

FILE = "search.json"
"""File of a sweep's folder: its searches, each with its question and the parameters of its trials, in order."""

_RESULTS = "optimization_results.yaml"
"""File in which Hydra's sweeper leaves what it has found."""

_OPTUNA = "hydra_plugins.hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper"

Trials = list[dict[str, Any]]
"""The parameters of each trial."""


def search_sweeper() -> type | None:
    """Hydra's Optuna sweeper, with its trials in the sweep's folder; None if it is not installed."""
    found = Plugins.instance().class_name_to_class.get(_OPTUNA)
    return None if found is None else type("Search", (found,), {"sweep": _sweep})


def _sweep(self: Any, arguments: list[str]) -> None:
    """Request the trials of an earlier command first, then new ones, up to ``n_trials`` in all."""
    hydra = self.sweeper
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # A grid has all its trials from the start, in an order of its own.
    if hydra.storage is None and not isinstance(hydra.sampler, functools.partial):
        _keep(hydra, arguments)
    hydra.sweep(arguments)
    results = OmegaConf.load(Path(str(hydra.config.hydra.sweep.dir)) / _RESULTS)
    if "best_params" in results:
        said = " ".join(f"{key}={value}" for key, value in results.best_params.items())
        terminal().print(f"best     {said}: {results.best_value:.2f} dB", highlight=False, soft_wrap=True)


def _keep(hydra: Any, arguments: Sequence[str]) -> None:
    """Let Hydra's part of the sweeper begin with the trials of the file, and write each new one before it runs."""
    file = Path(str(hydra.config.hydra.sweep.dir)) / FILE
    params = OmegaConf.to_container(hydra.params) if hydra.params else {}
    question = {"asked": sorted(arguments), "params": params, "direction": str(hydra.direction)}
    searches = _read(file)
    before = next((each["trials"] for each in searches if each["question"] == question), None)
    if before is None:
        before = []
        searches.append({"question": question, "trials": before})
    hydra.storage = optuna.storages.InMemoryStorage()
    hydra.study_name = hydra.study_name or "search"
    study = optuna.create_study(study_name=hydra.study_name, storage=hydra.storage, directions=hydra._get_directions())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        for each in before:
            study.enqueue_trial(each)
    node = hydra.config.hydra.sweeper.sampler
    if node.get("seed") is not None:
        hydra.sampler = _Seeded(node)

    def write() -> None:
        asked = (trial.params for trial in study.get_trials(deepcopy=False))
        before.extend(each for each in asked if each and each not in before)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, json.dumps({"searches": searches}, indent=1).encode() + b"\n")

    hydra.launcher = _Written(hydra.launcher, write)


def _read(file: Path) -> list[dict[str, Any]]:
    """The searches of a folder; none without a file.

    Raises:
        PartinrError: the file is damaged.
    """
    try:
        searches: list[dict[str, Any]] = json.loads(file.read_bytes())["searches"]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PartinrError(f"cannot read the trials of the search in {file}; remove it to begin anew") from error
    return searches


class _Written:
    """A launcher that writes the trials before it runs them.

    Args:
        launcher: the launcher.
        write: writes the trials.
    """

    def __init__(self, launcher: Any, write: Any) -> None:
        self._launcher, self._write = launcher, write

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Any:
        self._write()
        return self._launcher.launch(job_overrides, initial_job_idx=initial_job_idx)


class _Seeded:
    """A sampler that draws each trial from a seed of its own, so that a continued search takes the same way.

    Args:
        node: the configuration of the sampler, with ``seed``, from which and the number of a trial its seed follows.
    """

    def __init__(self, node: DictConfig) -> None:
        self._node = node
        self._samplers: dict[int, Any] = {}

    def _of(self, trial: Any) -> Any:
        if trial.number not in self._samplers:
            seed = random.Random(f"{self._node.seed} {trial.number}").getrandbits(32)
            self._samplers[trial.number] = instantiate(self._node, seed=seed)
        return self._samplers[trial.number]

    def infer_relative_search_space(self, study: Any, trial: Any) -> Any:
        return self._of(trial).infer_relative_search_space(study, trial)

    def sample_relative(self, study: Any, trial: Any, search_space: Mapping[str, Any]) -> Any:
        return self._of(trial).sample_relative(study, trial, search_space)

    def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> Any:
        return self._of(trial).sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Any, trial: Any, state: Any, values: Any) -> None:
        self._of(trial).after_trial(study, trial, state, values)

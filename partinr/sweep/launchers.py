"""The launchers of a sweep: ``hydra/launcher=basic | joblib | submitit_local | submitit_slurm``.

Hydra's launchers compose a configuration when a job begins, which on a cluster may be days after the request, and pass
it to a function. partinr's launchers freeze all configurations first (:mod:`partinr.sweep.queue`) and pass directories.
"""

from __future__ import annotations

import importlib
import signal
import sys
import time
import types
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus, setup_globals
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from pydantic import Field

from partinr.base.errors import PartinrError
from partinr.base.machine import cores
from partinr.base.notes import print_note
from partinr.base.spec import spec
from partinr.base.stopping import heeded, leave_closed_terminal
from partinr.experiment.make import checked
from partinr.experiment.outcome import Outcome
from partinr.runs.directory import RunDirectory
from partinr.runs.layout import JOB, LOG
from partinr.sweep.cluster import Cluster, Local, LocalSettings, Slurm, SlurmSettings, packed
from partinr.sweep.crew import Crew
from partinr.sweep.jobwise import jobwise_sweeper
from partinr.sweep.queue import Sweep
from partinr.sweep.rules import sweep_rules
from partinr.sweep.search import search_sweeper

Outcomes = dict[Path, Outcome | None]
"""The outcome of each run, by its directory; None if it has not ended."""


class SweepLauncher(Launcher):
    """Queues the runs, executes the missing ones, and returns the results to Hydra.

    Args:
        settings: the keys of ``hydra.launcher``, for :attr:`settings_class`.

    Raises:
        PartinrError: a key is unknown, or a value is out of range.
    """

    sweep: Sweep
    settings_class: type = spec(type("NoSettings", (), {"__doc__": "No options.", "__annotations__": {}}))

    def __init__(self, **settings: Any) -> None:
        plain = {
            key: OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
            for key, value in settings.items()
        }
        self.settings = checked(self.settings_class, plain, "hydra.launcher")

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Store Hydra's arguments."""
        self.config = config
        self.hydra_context = hydra_context

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Execute a run for each list of overrides.

        Raises:
            SystemExit: a signal stopped the sweep.
        """
        setup_globals()
        Path(str(self.config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        rules = sweep_rules(self.config)
        composed = [self._composed(list(each), number) for number, each in enumerate(job_overrides, initial_job_idx)]
        if len(said := set(map(str, composed))) == 1 and not OmegaConf.is_config(composed[0]):
            raise PartinrError(said.pop())
        jobs = [
            self._queued(cfg, list(each), number)
            for number, (each, cfg) in enumerate(zip(job_overrides, composed, strict=True), initial_job_idx)
        ]
        queued = list(dict.fromkeys(folder for _, folder in jobs if folder is not None))
        outcomes: Outcomes = {}
        missing = []
        for folder in queued:
            if self.sweep.is_missing(folder, rules):
                missing.append(folder)
            else:
                outcomes[folder] = self.sweep.settle(folder)
        self.sweep.expected = int(OmegaConf.select(self.config, "hydra.sweeper.n_trials") or 0)
        self.sweep.begin()
        try:
            outcomes |= self.carry_out(missing)
        finally:
            self.sweep.sort(queued)
        returned = []
        for overrides, (cfg, place) in zip(job_overrides, jobs, strict=True):
            outcome = None if place is None else outcomes.get(place)
            job = JobReturn(overrides=overrides, cfg=cfg, status=JobStatus.COMPLETED)
            job.return_value = None if outcome is None else outcome.psnr
            returned.append(job)
        return returned

    def _composed(self, overrides: list[str], number: int) -> DictConfig | str:
        """The configuration of a job, or why there is none."""
        try:
            cfg = self.hydra_context.config_loader.load_sweep_config(self.config, overrides)
        except (HydraException, OmegaConfBaseException) as error:
            return self.sweep.say(error, overrides)
        with open_dict(cfg):
            cfg.hydra.job.id = str(number)
            cfg.hydra.job.num = number
        return cfg

    def _queued(self, cfg: DictConfig | str, overrides: list[str], number: int) -> tuple[DictConfig, Path | None]:
        if isinstance(cfg, str):
            self.sweep.refuse(cfg, overrides, number)
            return self.config, None
        # ${hydra:…} in a configuration refers to this.
        HydraConfig.instance().set_config(cfg)
        return cfg, self.sweep.queue(cfg)

    def carry_out(self, folders: Sequence[Path]) -> Outcomes:
        """Execute the queued runs in these directories.

        Raises:
            SystemExit: a signal stopped the sweep.
        """
        raise NotImplementedError


class Basic(SweepLauncher):
    """Executes one run after the other in this process."""

    def carry_out(self, folders: Sequence[Path]) -> Outcomes:
        """Execute the runs here. A signal that stops one run stops the sweep."""
        outcomes: Outcomes = {}
        for folder in folders:
            outcome = outcomes[folder] = self.sweep.carry_out(folder)
            if outcome is not None and outcome.exit_code > 128:
                raise SystemExit(outcome.exit_code)
        return outcomes


@spec
class JoblibSettings:
    """Settings for several runs at once on this machine.

    Attributes:
        n_jobs: number of runs at once, each with an equal part of the cores; -1 for one per core.
        retries: how often a run is tried again if its process died, for example because memory ran out.
    """

    n_jobs: Annotated[int, Field(ge=-1)] = -1
    retries: Annotated[int, Field(ge=0)] = 1

    def __post_init__(self) -> None:
        """Refuse 0, which no range can exclude."""
        if self.n_jobs == 0:
            raise PartinrError("hydra.launcher.n_jobs=0; give 1 or more, or -1 for one a core")


class Joblib(SweepLauncher):
    """Executes several runs at once on this machine, each in its own process."""

    settings_class = JoblibSettings

    def carry_out(self, folders: Sequence[Path]) -> Outcomes:
        """Execute the runs in processes. If a signal stops the sweep, the runs save their state first."""
        crew = Crew(
            cores() if self.settings.n_jobs == -1 else self.settings.n_jobs,
            lambda folder: [sys.executable, "-m", "partinr", "resume", str(folder)],
            self.settings.retries,
            lambda folder: RunDirectory(folder).file(LOG),
            # A terminal's Ctrl-C must reach a run only once, since a second one ends it at once.
            start_new_session=True,
        )

        def stop(number: int, frame: FrameType | None) -> None:
            leave_closed_terminal()
            crew.send(number)

        before = {number: signal.signal(number, stop) for number in heeded()}
        try:
            outcomes = {folder: self.sweep.settle(folder, carried_out=True) for folder, _ in crew.carry_out(folders)}
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        if crew.stopped is not None:
            raise SystemExit(128 + crew.stopped)
        return outcomes


class Submitit(SweepLauncher):
    """Executes runs in jobs that outlive their command, and that the same command finds again."""

    poll_seconds = 1.0

    def cluster(self, folder: Path) -> Cluster:
        """The cluster for the jobs.

        Args:
            folder: folder for their scripts and logs.
        """
        raise NotImplementedError

    def carry_out(self, folders: Sequence[Path]) -> Outcomes:
        """Submit jobs for the runs that have none, and wait for all jobs.

        Raises:
            PartinrError: the cluster refuses the jobs, or does not answer.
            SystemExit: Ctrl-C; the jobs continue.
        """
        if not folders:
            return {}
        cluster = self.cluster(Path(str(self.config.hydra.sweep.dir)).absolute() / JOBS)
        jobs = {folder: job for folder in folders if (job := _job_of(folder)) is not None}
        states = cluster.states(jobs.values())
        self._submit(cluster, [folder for folder in folders if states.get(jobs.get(folder, ""), "gone") == "gone"])
        if not self.settings.wait:
            ids = ", ".join(sorted({str(_job_of(folder)) for folder in folders}))
            print_note(f"submitted {len(folders)} runs (jobs {ids}); the same command waits for them")
            return {}
        try:
            return self._wait(cluster, folders)
        except KeyboardInterrupt:
            print_note("the jobs continue; the same command waits for them again, and partinr runs lists them")
            raise SystemExit(128 + signal.SIGINT) from None

    def _submit(self, cluster: Cluster, folders: Sequence[Path]) -> None:
        by_nodes: dict[int, list[Path]] = {}
        for folder in folders:
            nodes = int(RunDirectory(folder).config()["trainer"].get("num_nodes", 1))
            by_nodes.setdefault(nodes, []).append(folder.absolute())
        for nodes, runs in by_nodes.items():
            jobs = packed(runs, self.settings.runs_per_job)
            for job, together in zip(cluster.submit(jobs, nodes), jobs, strict=True):
                for folder in together:
                    RunDirectory(folder).write(JOB, job.encode())

    def _wait(self, cluster: Cluster, folders: Sequence[Path]) -> Outcomes:
        outcomes: Outcomes = {}
        left = dict.fromkeys(folders, self.settings.retries)
        while left:
            time.sleep(self.poll_seconds)
            # Ask for jobs first, then runs: a run that ends in between still has its job.
            jobs = {folder: _job_of(folder) or "" for folder in left}
            states = cluster.states(jobs.values())
            again = []
            for folder in list(left):
                status = RunDirectory(folder).manifest()["status"]
                gone = states[jobs[folder]] == "gone"
                if status in ("completed", "failed") or (gone and not left[folder]):
                    del left[folder]
                    outcomes[folder] = self.sweep.settle(folder, carried_out=True)
                elif gone:
                    left[folder] -= 1
                    again.append(folder)
            self._submit(cluster, again)
        return outcomes


class SubmititLocal(Submitit):
    """Jobs on this machine, which outlive the terminal."""

    settings_class = LocalSettings

    def cluster(self, folder: Path) -> Cluster:
        """This machine."""
        return Local(self.settings, folder)


class SubmititSlurm(Submitit):
    """Jobs of Slurm."""

    settings_class = SlurmSettings
    poll_seconds = 5.0  # squeue is shared with all users

    def cluster(self, folder: Path) -> Cluster:
        """The Slurm cluster of this machine."""
        return Slurm(self.settings, folder)


JOBS = "jobs"
"""Folder for the scripts and logs of a sweep's jobs, next to its runs."""


def _job_of(folder: Path) -> str | None:
    """The last job submitted for a run."""
    try:
        return RunDirectory(folder).file(JOB).read_text(encoding="utf-8")
    except OSError:
        return None


LAUNCHERS: dict[str, type[SweepLauncher]] = {
    "basic": Basic,
    "joblib": Joblib,
    "submitit_local": SubmititLocal,
    "submitit_slurm": SubmititSlurm,
}
"""Launchers by their names in ``conf/hydra/launcher``, where all except the first have a file."""


MODULE = "hydra_plugins.partinr"
"""Name of the module of partinr's plug-ins of Hydra, which has no file."""


def register(sweep: Sweep) -> None:
    """Make the launchers known to Hydra, for one sweep, and the sweeper."""
    plugins = Plugins.instance()
    # Hydra imports plug-ins by name from the package hydra_plugins only. A folder of that name would have to be at the
    # top level next to partinr, so the module is made here.
    module = types.ModuleType(MODULE)
    try:
        package = importlib.import_module("hydra_plugins")
    except ImportError:
        package = sys.modules["hydra_plugins"] = types.ModuleType("hydra_plugins")
        package.__path__ = []
    sys.modules[module.__name__] = module
    package.partinr = module  # type: ignore[attr-defined]
    store = ConfigStore.instance()
    schemas = store.repo.get("hydra", {}).get("launcher", {})
    for name, launcher in LAUNCHERS.items():
        mine = type(launcher.__name__, (launcher,), {"sweep": sweep, "__module__": module.__name__})
        setattr(module, launcher.__name__, mine)
        plugins.register(mine)
        # An installed plug-in may have a schema of that name, which does not match partinr's.
        schemas.pop(f"{name}.yaml", None)
    # Hydra's own basic launcher and sweeper have no files that ours could replace.
    store.store(group="hydra/launcher", name="basic", node={"_target_": f"{module.__name__}.Basic"})
    node = {"_target_": _known(jobwise_sweeper()), "max_batch_size": None, "params": None}
    store.store(group="hydra/sweeper", name="basic", node=node)
    if (search := search_sweeper()) is not None:
        node = store.repo["hydra"]["sweeper"]["optuna.yaml"].node.copy()
        store.store(group="hydra/sweeper", name="optuna", node=OmegaConf.merge(node, {"_target_": _known(search)}))


def _known(sweeper: type) -> str:
    """The name by which Hydra finds a sweeper, which becomes known to it."""
    module = sys.modules[MODULE]
    sweeper.__module__ = module.__name__
    setattr(module, sweeper.__name__, sweeper)
    Plugins.instance().register(sweeper)
    return f"{module.__name__}.{sweeper.__name__}"

"""Who carries out the runs of a sweep: ``hydra/launcher=basic | joblib | submitit_local | submitit_slurm``.

Hydra's own launchers compose a configuration when a job begins, which on a cluster may be days after it was asked for,
and hand it to a function. These freeze all of them first (:mod:`partinr.sweep.queue`) and hand over directories.
"""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import threading
import time
import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict
from pydantic import Field

from partinr.base.errors import PartinrError
from partinr.base.notes import print_note
from partinr.base.spec import spec
from partinr.experiment.make import checked
from partinr.experiment.outcome import Outcome
from partinr.runs.directory import JOB, LOG, RunDirectory
from partinr.sweep.cluster import Cluster, Local, LocalSettings, Slurm, SlurmSettings, packed
from partinr.sweep.queue import Sweep
from partinr.sweep.rules import SweepRules, sweep_rules


class SweepLauncher(Launcher):
    """What the launchers share: they queue the runs, have them carried out, and give Hydra what it asks for.

    Args:
        settings: the keys of ``hydra.launcher``, for :attr:`settings_class`.

    Raises:
        PartinrError: an unknown key, or a value out of its range.
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
        """Take what Hydra has to give."""
        self.config = config
        self.hydra_context = hydra_context

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Carry out a run for each list of overrides.

        Raises:
            SystemExit: a signal stopped a run, and with it the sweep.
        """
        setup_globals()
        Path(str(self.config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        jobs = [self._queued(list(each), number) for number, each in enumerate(job_overrides, initial_job_idx)]
        queued = list(dict.fromkeys(folder for _, folder in jobs if folder is not None))
        outcomes = dict(zip(queued, self.carry_out(queued, sweep_rules(self.config)), strict=True))
        returned = []
        for overrides, (cfg, folder) in zip(job_overrides, jobs, strict=True):
            outcome = None if folder is None else outcomes[folder]
            job = JobReturn(overrides=overrides, cfg=cfg, status=JobStatus.COMPLETED)
            job.return_value = None if outcome is None else outcome.psnr
            returned.append(job)
        return returned

    def _queued(self, overrides: list[str], number: int) -> tuple[DictConfig, Path | None]:
        cfg = self.hydra_context.config_loader.load_sweep_config(self.config, overrides)
        with open_dict(cfg):
            cfg.hydra.job.id = str(number)
            cfg.hydra.job.num = number
        # ${hydra:…} in a configuration asks this.
        HydraConfig.instance().set_config(cfg)
        return cfg, self.sweep.queue(cfg)

    def carry_out(self, folders: Sequence[Path], rules: SweepRules) -> list[Outcome | None]:
        """Carry out the runs that are queued in the directories, and say how each ended; None: it did not."""
        raise NotImplementedError


class Basic(SweepLauncher):
    """One run after the other, in this process."""

    def carry_out(self, folders: Sequence[Path], rules: SweepRules) -> list[Outcome | None]:
        """Carry them out here.

        Raises:
            SystemExit: a signal stopped one of them. Whoever stops one run of a sweep wants the sweep to stop.
        """
        outcomes = []
        for folder in folders:
            outcome = self.sweep.carry_out(folder, rules)
            if outcome is not None and outcome.exit_code > 128:
                raise SystemExit(outcome.exit_code)
            outcomes.append(outcome)
        return outcomes


@spec
class JoblibSettings:
    """Several runs at once on this machine.

    Attributes:
        n_jobs: how many, each with an equal part of the processor's cores; -1 for one a core.
        retries: a run whose process died, as for want of memory, is tried again so often.
    """

    n_jobs: Annotated[int, Field(ge=-1)] = -1
    retries: Annotated[int, Field(ge=0)] = 1

    def __post_init__(self) -> None:
        """Check what concerns no range."""
        if self.n_jobs == 0:
            raise PartinrError("hydra.launcher.n_jobs=0; give 1 or more, or -1 for one a core")


class Joblib(SweepLauncher):
    """Several runs at once on this machine, each in a process of its own."""

    settings_class = JoblibSettings

    def carry_out(self, folders: Sequence[Path], rules: SweepRules) -> list[Outcome | None]:
        """Carry them out in processes.

        Raises:
            SystemExit: a signal stopped the sweep; the runs have saved where they were.
        """
        import joblib

        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        at_once = cores if self.settings.n_jobs == -1 else self.settings.n_jobs
        crew = _Crew(threads=max(1, cores // at_once), retries=self.settings.retries)
        waiting = [folder for folder in folders if self.sweep.plan(folder, rules) == "carry out"]
        outcomes: dict[Path, Outcome | None] = {}
        for folder in folders:
            if folder not in waiting:
                outcomes[folder] = self.sweep.settle(folder)
        with crew.listening():
            # Threads that wait for processes: a run that takes its process along takes no worker of a pool along.
            pool = joblib.Parallel(n_jobs=at_once, backend="threading", return_as="generator_unordered", batch_size=1)
            for folder in pool(joblib.delayed(crew.carry_out)(folder) for folder in waiting):
                if crew.stopped is None or RunDirectory.open(folder).manifest()["status"] != "queued":
                    outcomes[folder] = self.sweep.settle(folder, carried_out=True)
        self.sweep.sort(folders)
        if crew.stopped is not None:
            raise SystemExit(128 + crew.stopped)
        return [outcomes[folder] for folder in folders]


class _Crew:
    """Processes that carry out runs, and hear of the signals that this one gets."""

    def __init__(self, threads: int, retries: int) -> None:
        self.stopped: int | None = None
        self._environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        self._retries = retries
        self._running: set[subprocess.Popen[bytes]] = set()
        self._turn = threading.RLock()  # the handler of a signal may interrupt who has it

    def carry_out(self, folder: Path) -> Path:
        """Carry out the run in a directory; return the directory."""
        for _ in range(1 + self._retries):
            with RunDirectory(folder).file(LOG).open("ab") as log, self._turn:
                if self.stopped is not None:
                    return folder
                process = subprocess.Popen(
                    [sys.executable, "-m", "partinr", "resume", str(folder)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=self._environment,
                    # A terminal's Ctrl-C reaches this process alone, which passes it on: a run takes a second one for
                    # haste.
                    start_new_session=True,
                )
                self._running.add(process)
            code = process.wait()
            with self._turn:
                self._running.discard(process)
            if code >= 0:
                break
        return folder

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Pass signals on, inside."""
        before = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.stopped = number
        with self._turn:
            for process in self._running:
                with suppress(ProcessLookupError):
                    process.send_signal(number)


class Submitit(SweepLauncher):
    """Jobs that go on without the command that submitted them, and that the same command finds again."""

    poll_seconds = 1.0

    def cluster(self, folder: Path) -> Cluster:
        """Where the jobs run.

        Args:
            folder: for their scripts and logs.
        """
        raise NotImplementedError

    def carry_out(self, folders: Sequence[Path], rules: SweepRules) -> list[Outcome | None]:
        """Submit jobs for them, but for those that have one, and wait.

        Raises:
            PartinrError: the cluster refuses the jobs, or does not answer.
            SystemExit: Ctrl-C; the jobs go on.
        """
        waiting = [folder for folder in folders if self.sweep.plan(folder, rules) == "carry out"]
        outcomes = {folder: self.sweep.settle(folder) for folder in folders if folder not in waiting}
        if waiting:
            cluster = self.cluster(Path(str(self.config.hydra.sweep.dir)).absolute() / JOBS)
            jobs = {folder: job for folder in waiting if (job := _job_of(folder)) is not None}
            states = cluster.states(jobs.values())
            self._submit(cluster, [folder for folder in waiting if states.get(jobs.get(folder, ""), "gone") == "gone"])
            if self.settings.wait:
                try:
                    outcomes |= self._wait(cluster, waiting)
                except KeyboardInterrupt:
                    print_note("the jobs go on; the same command waits for them again, and partinr runs lists them")
                    raise SystemExit(128 + signal.SIGINT) from None
            else:
                ids = ", ".join(sorted({str(_job_of(folder)) for folder in waiting}))
                print_note(f"submitted {len(waiting)} runs (jobs {ids}); the same command waits for them")
        self.sweep.sort(folders)
        return [outcomes.get(folder) for folder in folders]

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

    def _wait(self, cluster: Cluster, folders: Sequence[Path]) -> dict[Path, Outcome | None]:
        outcomes: dict[Path, Outcome | None] = {}
        left = dict.fromkeys(folders, self.settings.retries)
        while left:
            time.sleep(self.poll_seconds)
            # Before the runs are looked at: one that ends between the two has a job that is there.
            jobs = {folder: _job_of(folder) or "" for folder in left}
            states = cluster.states(jobs.values())
            again = []
            for folder in list(left):
                manifest = RunDirectory(folder).manifest()
                gone = states[jobs[folder]] == "gone"
                if manifest["status"] in ("completed", "failed") or (gone and not left[folder]):
                    del left[folder]
                    outcomes[folder] = self.sweep.settle(folder, carried_out=True)
                elif gone:
                    left[folder] -= 1
                    again.append(folder)
            self._submit(cluster, again)
        return outcomes


class SubmititLocal(Submitit):
    """Jobs on this machine, which go on when the terminal is closed."""

    settings_class = LocalSettings

    def cluster(self, folder: Path) -> Cluster:
        """This machine."""
        return Local(self.settings, folder)


class SubmititSlurm(Submitit):
    """Jobs of Slurm."""

    settings_class = SlurmSettings
    poll_seconds = 5.0  # of one user among many

    def cluster(self, folder: Path) -> Cluster:
        """The cluster that this machine submits to."""
        return Slurm(self.settings, folder)


JOBS = "jobs"
"""Folder, beside the runs of a sweep, of the scripts and logs of its jobs."""


def _job_of(folder: Path) -> str | None:
    """The job that was submitted for a run last."""
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
"""By their names in ``conf/hydra/launcher``, where all but the first have a file."""


def register(sweep: Sweep) -> None:
    """Make the launchers known to Hydra, for one sweep."""
    plugins = Plugins.instance()
    # Hydra takes plug-ins from the package hydra_plugins alone, and imports them from it by name. A folder of that name
    # would have to lie beside partinr, at the top level, so the module is made here.
    module = types.ModuleType("hydra_plugins.partinr")
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
        # An installed plug-in may have a schema of that name, which is not that of ours.
        schemas.pop(f"{name}.yaml", None)
    # Hydra's own has no file that one of ours could stand in front of.
    store.store(group="hydra/launcher", name="basic", node={"_target_": f"{module.__name__}.Basic"})

"""Several processes for one stack: how they are started, how they meet, what is heard of them and how they end.

Lightning's own ways do not suit. ``popen`` starts the command line again, which within a sweep would be the whole
sweep. ``spawn`` picks a port that another program may take before it is used, hands the tensors over in shared memory,
of which a container has little, and lets a signal end the processes where they stand. So they are started here, and
Lightning's strategy is told where they meet.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import pickle
import signal
import socket
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import lightning as L
import torch
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.strategies.launchers.launcher import _Launcher

from partinr.base.errors import PartinrError, warnings_as_notes
from partinr.base.files import write_atomically

HOST = "127.0.0.1"
"""Where the processes of one machine meet: nobody else need hear them."""

MEETING_SECONDS = 240.0
"""So long the other machines wait for the first one, which may have to make a partition before it says where to meet;
torch lets the first one wait for 300 seconds."""

GRACE_SECONDS = 10.0
"""When one process is gone, the others have so long to notice it and end by themselves."""

BEAT_SECONDS = 1.0
"""Each process tells the one that started it so often that it is there, whatever work it is at."""

SILENCE_SECONDS = 300.0
"""A process that says nothing for so long hangs: it was stopped, or the system does not let it run. How long its work
takes does not matter, since a thread of its own speaks; but a step of compiled code may hold Python for its time."""

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)
"""They wait, in a process that was started here, until somebody unblocks them."""


class RankError(PartinrError):
    """A process of a run died, raised or hung.

    Attributes:
        trace: the traceback of the one that raised; empty for one that died.
    """

    def __init__(self, message: str, trace: str = "") -> None:
        super().__init__(message)
        self.trace = trace


@dataclass(frozen=True)
class Nodes:
    """The machines that a run is spread over, as one of them sees them.

    Attributes:
        size: how many there are.
        rank: which one this is; the first is 0.
        meeting: a file on a disk that all of them see, by which the first one says where they meet. None for one.
        attempt: of this run; no other attempt at it has the same name.
    """

    size: int = 1
    rank: int = 0
    meeting: Path | None = None
    attempt: str = ""

    def say(self, port: int) -> str:
        """Tell the others where this machine listens, and return its name."""
        assert self.meeting is not None
        host = socket.gethostname()
        said = {"attempt": self.attempt, "host": host, "port": port}
        write_atomically(self.meeting, json.dumps(said).encode())
        return host

    def hear(self) -> tuple[str, int]:
        """Host and port of the first machine.

        Raises:
            RankError: it does not say where it is.
        """
        assert self.meeting is not None
        deadline = time.monotonic() + MEETING_SECONDS
        while time.monotonic() < deadline:
            # There may be none yet, or one of an attempt that was cut off.
            with suppress(OSError, ValueError):
                said = json.loads(self.meeting.read_bytes())
                if said["attempt"] == self.attempt:
                    return said["host"], said["port"]
            time.sleep(0.1)
        raise RankError(
            f"node {self.rank} of {self.size} has heard nothing of the first one for {MEETING_SECONDS:g} seconds; "
            f"do all nodes see {self.meeting.parent}?"
        )


class Host(LightningEnvironment):
    """A machine whose processes are numbered by who starts them and not by the environment's variables."""

    rank = 0

    def __init__(self, node: int = 0) -> None:
        super().__init__()
        self._node = node

    def local_rank(self) -> int:
        """Number of this process, 0 in the one that starts them too."""
        return self.rank

    def node_rank(self) -> int:
        """Number of this machine."""
        return self._node


@runtime_checkable
class Reporting(Protocol):
    """A callback that has something to tell the process that started this one."""

    def results(self) -> Any:
        """What there is to tell."""
        ...

    def recover(self, results: Any) -> None:
        """Be as the callback that told it."""
        ...


class ShardStrategy(DDPStrategy):
    """Each process trains networks of its own.

    Lightning's DDP without what gives it its name: the parameters of two processes are those of other networks, so they
    are neither broadcast nor are their gradients reduced.

    Args:
        threads: of the CPU for each process; None for an equal part of those that this one takes.
        nodes: the machines of the run. On each of them, this strategy starts the processes for its devices.
    """

    host = HOST
    port = 0

    def __init__(self, threads: int | None = None, nodes: Nodes | None = None) -> None:
        super().__init__(start_method="spawn")
        self.threads = threads
        self.nodes = nodes or Nodes()

    def _configure_launcher(self) -> None:
        self._launcher = ProcessLauncher(self)

    def configure_ddp(self) -> None:
        """Leave the module as it is."""

    def setup_distributed(self) -> None:
        """Meet the others at the port that :class:`ProcessLauncher` keeps."""
        self.set_world_ranks()
        self._process_group_backend = self._get_process_group_backend()
        torch.distributed.init_process_group(
            self._process_group_backend,
            store=torch.distributed.TCPStore(self.host, self.port, self.world_size),
            rank=self.global_rank,
            world_size=self.world_size,
            device_id=None if self.root_device.type == "cpu" else self.root_device,
        )


class ProcessLauncher(_Launcher):
    """Runs a Trainer's function in several processes and brings home what became of it.

    The process that starts them trains nothing. It gets the results of the first of them: those of the module, and
    those of each callback that has any, both by their methods ``results`` and ``recover``. On several machines there is
    one such process on each.
    """

    # Forked, a process could not use a GPU that this one has used.
    context: SpawnContext | ForkServerContext = multiprocessing.get_context("spawn")

    def __init__(self, strategy: ShardStrategy) -> None:
        self._strategy = strategy
        self._running: list[BaseProcess] = []

    def __getstate__(self) -> dict[str, Any]:
        return {"_strategy": self._strategy, "_running": []}

    @property
    def is_interactive_compatible(self) -> bool:
        """A class from a notebook's cell cannot be found by another process."""
        return False

    def launch(self, function: Callable[..., Any], *args: Any, trainer: L.Trainer | None = None, **kwargs: Any) -> None:
        """Run ``function`` in all processes at once.

        Raises:
            RankError: one of them died, raised or hung; the others have been ended.
        """
        assert trainer is not None
        nodes, store = self._strategy.nodes, None
        if nodes.rank == 0:
            # The port is the system's choice and is held from here on: nobody can take it before it is used.
            store = torch.distributed.TCPStore(HOST, 0, is_master=True, wait_for_workers=False)
            self._strategy.port = store.port
            if nodes.size > 1:
                self._strategy.host = nodes.say(store.port)
        else:
            self._strategy.host, self._strategy.port = nodes.hear()
        size = self._strategy.num_processes
        start = pickle.dumps(
            _Start(
                # As plain bytes, the tensors too: torch would put them into shared memory.
                pickle.dumps((function, args, kwargs, trainer)),
                os.getcwd(),
                self._strategy.threads or max(1, torch.get_num_threads() // size),
                list(warnings.filters),
            )
        )
        ranks = []
        try:
            with _blocked_signals():
                for rank in range(size):
                    here, there = self.context.Pipe()
                    process = self.context.Process(target=_work, args=(rank, there), name=f"partinr rank {rank}")
                    process.start()
                    self._running.append(process)
                    there.close()  # so that the pipe ends when the process does
                    ranks.append(_Rank(rank, process, here))
            # Not as an argument: the next one would only be started when this one has imported torch and read it.
            for each in ranks:
                each.send(start)
            del start  # a signal may be large
            results = _wait_for(ranks)
        finally:
            self._running = []
            for each in ranks:
                each.process.kill()
                each.process.join()
                each.pipe.close()
            del store
            if nodes.rank == 0 and nodes.meeting is not None:
                nodes.meeting.unlink(missing_ok=True)
        _recover(trainer, results)

    def kill(self, signum: int) -> None:
        """Pass a signal on to all processes."""
        for process in self._running:
            if process.pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signum)


def check_can_be_sent(*objects: Any) -> None:
    """See that objects can be sent to another process.

    Raises:
        PartinrError: something in them cannot.
    """
    try:
        _Trial(io.BytesIO()).dump(objects)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise PartinrError(
            f"cannot hand the run to other processes: {error}; "
            "define its classes and functions at the top level of a module, or give trainer.devices=1"
        ) from error


class _Trial(pickle.Pickler):
    """Leaves out the tensors, which are large, and can be sent for certain."""

    def persistent_id(self, obj: Any) -> int | None:
        return 0 if isinstance(obj, torch.Tensor) else None


@contextmanager
def _blocked_signals() -> Any:
    """Signals that come inside wait until afterwards; processes that are started inside keep them blocked."""
    # It unblocks the signals when it starts, so it has to run before.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@dataclass(frozen=True)
class _Start:
    """What a process begins with.

    Attributes:
        work: pickled ``(function, args, kwargs, trainer)``.
        folder: the working directory; a new process would begin where partinr was first imported.
        threads: of the CPU.
        filters: of warnings.
    """

    work: bytes
    folder: str
    threads: int
    filters: list[Any]


@dataclass(frozen=True)
class _Raised:
    """What a process says of the exception that ends it."""

    reason: str
    trace: str
    time: float


@dataclass
class _Rank:
    """A process as the one that started it sees it."""

    number: int
    process: BaseProcess
    pipe: Connection
    answer: Any = None
    killed: bool = False
    silence: float = 0.0
    hung: bool = False
    pipe_ended: bool = False

    def send(self, start: bytes) -> None:
        with suppress(ConnectionError):  # it is gone already, which is found out next
            self.pipe.send_bytes(start)

    def listen(self) -> None:
        # To the end: behind the last of its beats there may be the answer of a process that is over.
        while not self.pipe_ended and self.pipe.poll():
            try:
                said = self.pipe.recv_bytes()
            except (EOFError, ConnectionError):
                self.pipe_ended = True
            else:
                self.silence = 0.0
                if said:  # else it only lives
                    self.answer = pickle.loads(said)

    def kill(self) -> None:
        self.killed = True
        self.process.kill()


def _wait_for(ranks: list[_Rank]) -> Any:
    """Wait until all processes are over; the answer of the first.

    Raises:
        RankError: one of them died, raised or hung.
    """
    running = list(ranks)
    deadline: float | None = None
    looked = time.monotonic()
    while running:
        # An answer may be larger than what a pipe holds, so it is taken while its sender still waits.
        pipes = [rank.pipe for rank in running if not rank.pipe_ended]
        ready = wait([*(rank.process.sentinel for rank in running), *pipes], BEAT_SECONDS)
        now = time.monotonic()
        for rank in running:
            # While this process was stopped itself, with Ctrl-Z, nobody was silent.
            rank.silence += min(now - looked, 2 * BEAT_SECONDS)
            if rank.pipe in ready:
                rank.listen()
            rank.hung = rank.hung or rank.silence > SILENCE_SECONDS
        looked = now
        for rank in [rank for rank in running if rank.process.sentinel in ready]:
            rank.process.join()
            running.remove(rank)
        for rank in running:
            if not rank.killed and (rank.hung or (deadline is not None and now >= deadline)):
                rank.kill()
        if deadline is None and any(
            isinstance(rank.answer, _Raised) or rank.process.exitcode or rank.hung for rank in ranks
        ):
            deadline = now + GRACE_SECONDS
    fault = _fault(ranks)
    if fault is not None:
        raise fault
    return ranks[0].answer


def _fault(ranks: list[_Rank]) -> RankError | None:
    """What went wrong first: the others only lost the connection to the one that it happened to."""
    who = f"of {len(ranks)} processes"
    for rank in ranks:
        if rank.hung:
            return RankError(
                f"rank {rank.number} {who} has not answered for {SILENCE_SECONDS:g} seconds; "
                "was it stopped, or is the memory full?"
            )
    for rank in ranks:
        code = rank.process.exitcode
        if code is not None and code < 0 and not rank.killed:
            name = signal.Signals(-code).name
            hint = "; memory may have run out" if -code == signal.SIGKILL else ""
            return RankError(f"rank {rank.number} {who} was killed by {name}{hint}")
    raised = [(rank.answer.time, rank.number, rank.answer) for rank in ranks if isinstance(rank.answer, _Raised)]
    if raised:
        _, number, answer = min(raised)
        return RankError(f"rank {number} {who} raised {answer.reason}", answer.trace)
    for rank in ranks:
        if rank.process.exitcode:
            return RankError(f"rank {rank.number} {who} ended with exit code {rank.process.exitcode}")
    return None


def _recover(trainer: L.Trainer, results: Any) -> None:
    """Let the objects of this process know what became of theirs."""
    trainer.state, of_module, of_callbacks = results
    module: Any = trainer.lightning_module
    module.recover(of_module)
    for number, of_callback in of_callbacks.items():
        callback: Any = trainer.callbacks[number]  # type: ignore[attr-defined]
        callback.recover(of_callback)


def _work(rank: int, pipe: Connection) -> None:
    """What each process does."""
    # It imports this module, so it comes late.
    from partinr.training.trainer import quiet_lightning

    _end_with_parent()
    trainer = None
    voice = _Voice(pipe)
    voice.beat()
    try:
        start = pickle.loads(pipe.recv_bytes())
        os.chdir(start.folder)
        warnings.filters[:] = start.filters  # type: ignore[index]
        torch.set_num_threads(start.threads)
        function, args, kwargs, trainer = pickle.loads(start.work)
        del start  # a signal may be large
        trainer.strategy.cluster_environment.rank = rank
        if trainer.strategy.nodes.size == 1:
            _use_loopback()
        with quiet_lightning(), warnings_as_notes():
            function(*args, **kwargs)
        if rank == 0:
            callbacks = enumerate(trainer.callbacks)
            told = {number: callback.results() for number, callback in callbacks if isinstance(callback, Reporting)}
            voice.say((trainer.state, trainer.lightning_module.results(), told))
        torch.distributed.destroy_process_group()
    except BaseException as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())[:500]
        # At once: the others notice next that this process is gone, and only one of all can be the cause.
        voice.say(_Raised(said, traceback.format_exc(), time.time()))
        if trainer is not None and trainer.lightning_module is not None:
            for callback in trainer.callbacks:
                callback.on_exception(trainer, trainer.lightning_module, error)
        sys.stdout.flush()
        sys.stderr.flush()
        # Without the usual goodbye, which may wait for the other processes.
        os._exit(1)


class _Voice:
    """What a process tells the one that started it."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        # A pipe takes one message at a time.
        self._turn = threading.Lock()

    def say(self, answer: Any) -> None:
        """Send as plain bytes: shared memory, which torch would take by itself, is gone with its process."""
        said = pickle.dumps(answer)
        with self._turn:
            self._pipe.send_bytes(said)

    def beat(self) -> None:
        """Say from now on, again and again, that the process is there: in a message without a byte."""

        def live() -> None:
            with suppress(OSError):
                while True:
                    with self._turn:
                        self._pipe.send_bytes(b"")
                    time.sleep(BEAT_SECONDS)

        threading.Thread(target=live, daemon=True).start()


def _end_with_parent() -> None:
    """However the process that started this one ends, this one does not stay behind."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _use_loopback() -> None:
    """Gloo would look up the name of the machine, which in a container may have no address."""
    names = {name for _, name in socket.if_nameindex()}
    for name in ("lo", "lo0"):
        if name in names:
            os.environ.setdefault("GLOO_SOCKET_IFNAME", name)

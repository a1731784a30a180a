"""Starts processes that train one stack together, connects them, and collects their results.

Lightning's launchers are unsuitable. ``popen`` repeats the command line, which would repeat a whole sweep. ``spawn``
picks a port that another program may take before it is used, passes tensors through shared memory, of which containers
have little, and lets a signal kill the processes. partinr therefore starts the processes itself and gives Lightning's
strategy their address.
"""

from __future__ import annotations

import io
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
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from typing import Any, Protocol, runtime_checkable

import lightning as L
import torch
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.strategies.launchers.launcher import _Launcher

from partinr.base.environment import own_environment
from partinr.base.errors import PartinrError, warnings_as_notes
from partinr.base.stopping import STOPPING
from partinr.training.nodes import HOST, Nodes
from partinr.training.quiet import quiet_lightning
from partinr.training.watch import Raised, Rank, Voice, wait_for

SIGNALS = (*STOPPING, signal.SIGUSR2)
"""Signals that a started process blocks until a callback unblocks them."""


@runtime_checkable
class Reporting(Protocol):
    """A callback with results for the process that launched this one."""

    def results(self) -> Any:
        """The results."""

    def recover(self, results: Any) -> None:
        """Restore the results of the same callback in another process."""


class ShardStrategy(DDPStrategy):
    """Each process trains its own networks.

    This is Lightning's DDP without its synchronisation: the parameters of two processes belong to different networks,
    so they are not broadcast, and their gradients are not reduced.

    Args:
        threads: CPU threads for each process; None to divide those of this process equally.
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
        """Leave the module unchanged."""

    def setup_distributed(self) -> None:
        """Join the process group at the port that :class:`ProcessLauncher` holds."""
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
    """Runs a Trainer's function in several processes and returns the results to this one.

    The launching process does not train. It receives the results of the first process: those of the module and of each
    :class:`Reporting` callback. Each of several machines has one launching process.
    """

    # A forked process cannot use a GPU that its parent has used.
    context: SpawnContext | ForkServerContext = multiprocessing.get_context("spawn")

    def __init__(self, strategy: ShardStrategy) -> None:
        self._strategy = strategy
        self._running: list[BaseProcess] = []

    def __getstate__(self) -> dict[str, Any]:
        return {"_strategy": self._strategy, "_running": []}

    @property
    def is_interactive_compatible(self) -> bool:
        """False: another process cannot import a class from a notebook's cell."""
        return False

    def launch(self, function: Callable[..., Any], *args: Any, trainer: L.Trainer | None = None, **kwargs: Any) -> None:
        """Run ``function`` in all processes at once.

        Raises:
            RankError: a process died, raised or hung; the others have been ended.
        """
        assert trainer is not None
        nodes, store = self._strategy.nodes, None
        if nodes.rank == 0:
            # The system picks the port, and the store holds it from now on, so no other program can take it.
            store = torch.distributed.TCPStore(HOST, 0, is_master=True, wait_for_workers=False)
            self._strategy.port = store.port
            if nodes.size > 1:
                self._strategy.host = nodes.publish(store.port)
        else:
            self._strategy.host, self._strategy.port = nodes.find()
        size = self._strategy.num_processes
        # Tensors become plain bytes too: torch would put them into shared memory.
        work = pickle.dumps((function, args, kwargs, trainer))
        threads = self._strategy.threads or max(1, torch.get_num_threads() // size)
        # With the working directory: a new process would begin where partinr was first imported.
        start = pickle.dumps((work, os.getcwd(), threads, list(warnings.filters)))
        del work  # a signal may be large
        ranks: list[Rank] = []
        try:
            with _blocked_signals():
                for number in range(size):
                    here, there = self.context.Pipe()
                    process = self.context.Process(target=_work, args=(number, there), name=f"partinr rank {number}")
                    process.start()
                    self._running.append(process)
                    there.close()  # so that the pipe closes with the process
                    ranks.append(Rank(number, process, here))
            # Sent through the pipe: as an argument, each start would wait until the previous process has read it.
            for rank in ranks:
                rank.send(start)
            del start  # a signal may be large
            trainer.state, of_module, of_callbacks = wait_for(ranks)
        finally:
            self._running = []
            for rank in ranks:
                rank.process.kill()
                rank.process.join()
                rank.pipe.close()
            del store
            if nodes.rank == 0 and nodes.meeting is not None:
                nodes.meeting.unlink(missing_ok=True)
        module: Any = trainer.lightning_module
        module.import_state(of_module)
        for number, of_callback in of_callbacks.items():
            callback: Any = trainer.callbacks[number]  # type: ignore[attr-defined]
            callback.recover(of_callback)

    def kill(self, signum: int) -> None:
        """Pass a signal on to all processes."""
        for process in self._running:
            if process.pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signum)


def check_can_be_sent(*objects: Any) -> None:
    """Check that objects can be sent to another process.

    Raises:
        PartinrError: part of an object cannot be sent.
    """
    try:
        _WithoutTensors(io.BytesIO()).dump(objects)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise PartinrError(
            f"cannot hand the run to other processes: {error}; "
            "define its classes and functions at the top level of a module, or give trainer.devices=1"
        ) from error


class _WithoutTensors(pickle.Pickler):
    """Leaves out tensors, which are large and can always be sent."""

    def persistent_id(self, obj: Any) -> int | None:
        return 0 if isinstance(obj, torch.Tensor) else None


@contextmanager
def _blocked_signals() -> Iterator[None]:
    """Block signals within the context; processes started inside keep them blocked."""
    # The resource tracker unblocks signals when it starts, so it must start first.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(rank: int, pipe: Connection) -> None:
    """The main function of each process."""
    _end_with_parent()
    trainer = None
    voice = Voice(pipe)
    voice.start_beat()
    try:
        work, folder, threads, filters = pickle.loads(pipe.recv_bytes())
        os.chdir(folder)
        warnings.filters[:] = filters  # type: ignore[index]
        torch.set_num_threads(threads)
        function, args, kwargs, trainer = pickle.loads(work)
        del work  # a signal may be large
        trainer.strategy.cluster_environment.rank = rank
        if trainer.strategy.nodes.size == 1:
            _use_loopback()
        with quiet_lightning(), warnings_as_notes(), own_environment():
            function(*args, **kwargs)
        if rank == 0:
            callbacks = enumerate(trainer.callbacks)
            results = {number: callback.results() for number, callback in callbacks if isinstance(callback, Reporting)}
            voice.send((trainer.state, trainer.lightning_module.export_state(), results))
        torch.distributed.destroy_process_group()
    except BaseException as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:500]
        # Sent at once: the other processes will fail too without this one, and the first failure is the cause.
        voice.send(Raised(reason, traceback.format_exc(), time.time()))
        if trainer is not None and trainer.lightning_module is not None:
            for callback in trainer.callbacks:
                callback.on_exception(trainer, trainer.lightning_module, error)
        sys.stdout.flush()
        sys.stderr.flush()
        # Skip the shutdown of the process group, which may wait for other processes.
        os._exit(1)


def _end_with_parent() -> None:
    """End this process when its launcher ends, however that happens."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _use_loopback() -> None:
    """Let gloo use the loopback device, since a container may not resolve the machine's name."""
    names = {name for _, name in socket.if_nameindex()}
    for name in ("lo", "lo0"):
        if name in names:
            os.environ.setdefault("GLOO_SOCKET_IFNAME", name)

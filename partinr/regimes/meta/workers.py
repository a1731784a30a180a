"""Runs work ahead in other processes with torch's DataLoader, with one-line errors."""

from __future__ import annotations

import pickle
import signal
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any, Generic, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from partinr.base.errors import PartinrError

K = TypeVar("K")
T = TypeVar("T")

Work = Callable[[K], T]


def work_ahead(work: Work[K, T], keys: Iterable[K], workers: int) -> Iterator[T]:
    """Results of ``map(work, keys)`` in order, from processes that compute at most two results ahead each.

    Args:
        work: the function; copied into every process when the first result is requested.
        keys: arguments, possibly endless; drawn in this process.
        workers: number of processes; 0 to work in this process.

    Yields:
        the results of ``work``, as copies if from another process.

    Raises:
        PartinrError: ``work`` raised it, or a process died.
    """
    if workers == 0:
        yield from map(work, keys)
        return
    loader: DataLoader[Any] = DataLoader(
        _Answers(work),
        batch_size=None,
        sampler=keys,
        num_workers=workers,
        collate_fn=_as_it_is,
        worker_init_fn=_leave_signals,
        # The default draws from torch's global generator, so that training would depend on the number of workers.
        generator=torch.Generator(),
    )
    with warnings.catch_warnings():
        # The number of processes is the user's choice; they may mostly wait for files.
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        # Python 3.12 warns of forks with threads; torch's threads hold no locks here.
        warnings.filterwarnings("ignore", message=".*multi-threaded, use of fork", category=DeprecationWarning)
        answers = iter(loader)
    died = False
    try:
        for answer in answers:
            if isinstance(answer, _Failed):
                raise PartinrError(answer.message)
            yield pickle.loads(answer)
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        died = True
    finally:
        # Deleting the iterator ends the processes at once. The traceback of an exception would keep it until garbage
        # collection, which may delete the queues first; then no message could end the processes.
        del answers
    if died:
        raise PartinrError(
            "a process that loads signals died, for want of memory perhaps; ask for fewer workers, or for none"
        )


@dataclass(frozen=True)
class _Failed:
    """The message of a PartinrError in a process; torch would add a traceback to it."""

    message: str


class _Answers(Dataset[Any], Generic[K, T]):
    """Results as plain bytes: torch would put tensors into shared memory, of which containers have little."""

    def __init__(self, work: Work[K, T]) -> None:
        self._work = work

    def __getitem__(self, key: K) -> bytes | _Failed:
        try:
            return pickle.dumps(self._work(key), protocol=pickle.HIGHEST_PROTOCOL)
        except PartinrError as error:
            return _Failed(str(error))


def _as_it_is(answer: Any) -> Any:
    return answer


def _leave_signals(worker: int) -> None:
    """Ignore signals: a terminal or scheduler sends them to all processes, and the training process decides.

    The training process may finish its step first. Only the first SIGTERM is ignored, since torch sends one to end a
    stuck process.
    """

    def note(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    for each in (signal.SIGINT, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, note)
    # With several training processes, SIGTERM is inherited blocked, see partinr.training.processes.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])

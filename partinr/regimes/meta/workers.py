"""Work that is done ahead in other processes, by torch's DataLoader, and what goes wrong there as one line."""

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
    """``map(work, keys)`` with processes that work ahead, each two results at most; the order is that of ``keys``.

    Args:
        work: is copied into every process as it is when the first result is asked for.
        keys: may have no end. They are taken in this process.
        workers: how many processes; 0 for none but this one.

    Yields:
        what ``work`` gives; from a process, a copy.

    Raises:
        PartinrError: ``work`` raised one, with its message; or a process died.
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
        # Or it would draw from torch's own generator, and a training would depend on whether there are workers.
        generator=torch.Generator(),
    )
    with warnings.catch_warnings():
        # How many processes suit the machine is for the user to say, who may know that they only wait.
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        # Python 3.12 fears for forks of what has threads; torch's own wait for nothing here.
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
        # The processes end with it, at once. In the traceback of an exception it would wait for the garbage collector,
        # which may take its queues first: then nobody could tell the processes, and they would be waited for in vain.
        del answers
    if died:
        raise PartinrError(
            "a process that loads signals died, for want of memory perhaps; ask for fewer workers, or for none"
        )


@dataclass(frozen=True)
class _Failed:
    """What a process says of a PartinrError; torch would add the traceback to its message."""

    message: str


class _Answers(Dataset[Any], Generic[K, T]):
    """A result for every key: as plain bytes, since torch would put tensors into shared memory.

    Of that a container may have very little.
    """

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
    """A terminal, or a scheduler, sends its signals to all processes; the one that asked for the work decides.

    It may want to finish its step first. Of SIGTERM only the first is passed over: it is also how torch ends a process
    that does not end by itself.
    """

    def note(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, note)
    # Blocked where this one comes from: see partinr.training.processes.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])

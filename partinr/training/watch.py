"""The launcher's view of a run's processes: which have finished, died, raised or hung."""

from __future__ import annotations

import pickle
import signal
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from partinr.training.nodes import RankError

GRACE_SECONDS = 10.0
"""Time that the other processes have to end by themselves after one has ended."""

BEAT_SECONDS = 1.0
"""Interval at which each process tells its launcher that it is alive, whatever it does."""

SILENCE_SECONDS = 300.0
"""A process that is silent for this long hangs: it was stopped, or the system does not schedule it. A separate thread
sends the beats, so long work does not matter, but a step of compiled code may hold Python's lock."""


@dataclass(frozen=True)
class Raised:
    """The last message of a process that ends with an exception."""

    reason: str
    trace: str
    time: float


class Voice:
    """A process's messages to its launcher."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()  # one message at a time

    def send(self, answer: Any) -> None:
        """Send a result as plain bytes: torch would put tensors into shared memory, which ends with the process."""
        content = pickle.dumps(answer)
        with self._lock:
            self._pipe.send_bytes(content)

    def start_beat(self) -> None:
        """Send an empty message from now on, once per :data:`BEAT_SECONDS`."""

        def beat() -> None:
            with suppress(OSError):
                while True:
                    with self._lock:
                        self._pipe.send_bytes(b"")
                    time.sleep(BEAT_SECONDS)

        threading.Thread(target=beat, daemon=True).start()


@dataclass
class Rank:
    """The launcher's view of one process."""

    number: int
    process: BaseProcess
    pipe: Connection
    answer: Any = None
    killed: bool = False
    silence: float = 0.0
    hung: bool = False
    pipe_ended: bool = False

    def send(self, content: bytes) -> None:
        """Send the process its work."""
        with suppress(ConnectionError):  # the process has ended; `wait_for` notices
            self.pipe.send_bytes(content)

    def listen(self) -> None:
        """Read all messages that wait in the pipe."""
        # The answer of a finished process may follow its last beat.
        while not self.pipe_ended and self.pipe.poll():
            try:
                content = self.pipe.recv_bytes()
            except (EOFError, ConnectionError):
                self.pipe_ended = True
            else:
                self.silence = 0.0
                if content:  # a beat is empty
                    self.answer = pickle.loads(content)

    def kill(self) -> None:
        """End the process at once."""
        self.killed = True
        self.process.kill()

    def fault(self) -> tuple[int, float, int, str, str] | None:
        """What went wrong: order and time of the cause, this process's number, a message and a traceback."""
        code = self.process.exitcode or 0
        if self.hung:
            silence = f"has not answered for {SILENCE_SECONDS:g} seconds; was it stopped, or is the memory full?"
            return 0, 0.0, self.number, silence, ""
        if code < 0 and not self.killed:
            hint = "; memory may have run out" if -code == signal.SIGKILL else ""
            return 1, 0.0, self.number, f"was killed by {signal.Signals(-code).name}{hint}", ""
        if isinstance(self.answer, Raised):
            return 2, self.answer.time, self.number, f"raised {self.answer.reason}", self.answer.trace
        return (3, 0.0, self.number, f"ended with exit code {code}", "") if code else None


def wait_for(ranks: list[Rank]) -> Any:
    """Wait for all processes to end; returns the answer of the first.

    Raises:
        RankError: one of them died, raised or hung.
    """
    running = list(ranks)
    deadline: float | None = None
    looked = time.monotonic()
    while running:
        # An answer may be larger than a pipe's buffer, so read while its sender waits.
        pipes = [rank.pipe for rank in running if not rank.pipe_ended]
        ready = wait([*(rank.process.sentinel for rank in running), *pipes], BEAT_SECONDS)
        now = time.monotonic()
        for rank in running:
            # If this process itself was stopped (Ctrl-Z), the others were not silent.
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
            isinstance(rank.answer, Raised) or rank.process.exitcode or rank.hung for rank in ranks
        ):
            deadline = now + GRACE_SECONDS
    faults = [fault for rank in ranks if (fault := rank.fault()) is not None]
    if faults:
        # The first failure is the cause; the other processes only lost their connection to it.
        _, _, number, message, trace = min(faults)
        raise RankError(f"rank {number} of {len(ranks)} processes {message}", trace)
    return ranks[0].answer

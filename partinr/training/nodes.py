"""The machines of a run, and where their processes meet."""

from __future__ import annotations

import json
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lightning.pytorch.plugins.environments import LightningEnvironment

from partinr.base.errors import PartinrError
from partinr.base.files import write_atomically

HOST = "127.0.0.1"
"""Address at which the processes of one machine meet; no other machine can reach it."""

MEETING_SECONDS = 240.0
"""How long the other machines wait for the address of the first one, which may have to make a partition before. torch
lets the first one wait for 300 seconds."""


class RankError(PartinrError):
    """A process of a run died, raised or hung.

    Attributes:
        trace: the traceback of the process that raised; empty for one that died.
    """

    def __init__(self, message: str, trace: str = "") -> None:
        super().__init__(message)
        self.trace = trace


@dataclass(frozen=True)
class Nodes:
    """The machines that a run is spread over, as one of them sees them.

    Attributes:
        size: the number of machines.
        rank: the number of this one, from 0.
        meeting: a file on a shared disk, in which the first machine publishes its address; None for one machine.
        attempt: a name for this attempt at the run, different from that of any other attempt.
    """

    size: int = 1
    rank: int = 0
    meeting: Path | None = None
    attempt: str = ""

    def publish(self, port: int) -> str:
        """Publish the port at which this machine listens; returns this machine's name."""
        assert self.meeting is not None
        host = socket.gethostname()
        address = {"attempt": self.attempt, "host": host, "port": port}
        write_atomically(self.meeting, json.dumps(address).encode())
        return host

    def find(self) -> tuple[str, int]:
        """Host and port of the first machine.

        Raises:
            RankError: it did not publish them in time.
        """
        assert self.meeting is not None
        deadline = time.monotonic() + MEETING_SECONDS
        while time.monotonic() < deadline:
            # The file may be missing yet, or left over from an attempt that was cut off.
            with suppress(OSError, ValueError):
                address = json.loads(self.meeting.read_bytes())
                if address["attempt"] == self.attempt:
                    return address["host"], address["port"]
            time.sleep(0.1)
        raise RankError(
            f"node {self.rank} of {self.size} has heard nothing of the first one for {MEETING_SECONDS:g} seconds; "
            f"do all nodes see {self.meeting.parent}?"
        )


class Host(LightningEnvironment):
    """A machine whose processes are numbered by their launcher instead of environment variables."""

    rank = 0

    def __init__(self, node: int = 0) -> None:
        super().__init__()
        self._node = node

    def local_rank(self) -> int:
        """Number of this process on its machine; 0 also in the process that launches them."""
        return self.rank

    def node_rank(self) -> int:
        """Number of this machine."""
        return self._node

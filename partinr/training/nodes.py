"""The machines of a run, and the address at which their processes meet."""

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
"""How long other machines wait for the first one's address, while it may make a partition. torch waits 300 s for
them."""


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
    """The machines of a run, from the view of one of them.

    Attributes:
        size: the number of machines.
        rank: the number of this machine, from 0.
        meeting: a file on a shared disk, in which the first machine publishes its address; None for one machine.
        attempt: a unique name for this attempt at the run.
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
            RankError: the first machine did not publish its address in time.
        """
        assert self.meeting is not None
        deadline = time.monotonic() + MEETING_SECONDS
        while time.monotonic() < deadline:
            # The file may not exist yet, or be left from a killed attempt.
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

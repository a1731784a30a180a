"""Settings, login and reachability of W&B, before a run is open."""

from __future__ import annotations

import os
import socket
import urllib.request
from typing import Any
from urllib.parse import urlsplit

from partinr.base.errors import PartinrError

NO_LOGIN = "there is no W&B login (wandb login makes one)"


class Unreachable(PartinrError):
    """There is no login, or the server does not answer."""


def check_reachable() -> None:
    """Check login and server.

    Raises:
        Unreachable: there is no login, or nobody answers.
    """
    if not has_login():
        raise Unreachable(NO_LOGIN)
    if not answers(address()):
        raise Unreachable(f"W&B cannot be reached: nobody answers at {address()}")


def has_login() -> bool:
    """Whether W&B finds credentials for its server. Never prompts for them."""
    server = address()
    from wandb.sdk.lib import wbauth

    try:
        found = wbauth.authenticate_session(host=server, source="partinr", prompt=False, update_session=False)
    except Exception:  # the key does not have the form of W&B's keys
        return False
    return found is not None


def address() -> str:
    """The address of W&B's server."""
    quiet()
    from wandb.sdk import wandb_setup

    # wandb.setup() would also start W&B's service and check the login at the server.
    return str(wandb_setup.singleton().settings.base_url)


PROBE_SECONDS = 3.0
"""Seconds that a server may take to accept a connection."""


def answers(server: str) -> bool:
    """Whether the server accepts a connection. Assumed to be true behind a proxy.

    Without this check, W&B's service would keep trying to start the run and block its id.
    """
    address = urlsplit(server)
    if urllib.request.getproxies().get(address.scheme):
        return True
    port = address.port or (80 if address.scheme == "http" else 443)
    try:
        socket.create_connection((address.hostname or "", port), PROBE_SECONDS).close()
    except OSError:
        return False
    return True


def quiet(**further: Any) -> Any:
    """Settings of W&B: no output, no telemetry, nothing about the machine, the code or the environment."""
    # W&B reads these at import, when its service starts, and at its first output.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    os.environ.setdefault("WANDB_SILENT", "true")
    import wandb

    return wandb.Settings(
        silent=True,
        console="off",
        disable_code=True,
        disable_git=True,
        disable_job_creation=True,
        label_disable=True,
        save_code=False,
        symlink=False,
        x_disable_machine_info=True,
        x_disable_meta=True,
        x_disable_stats=True,
        x_save_requirements=False,
        **further,
    )

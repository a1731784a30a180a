"""The lines at the start of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightning as L

from partinr.base.terminal import short, terminal
from partinr.base.text import visible
from partinr.callbacks.base import RunCallback, regime


class Header(RunCallback):
    """Prints three lines: what is fitted, by how many parameters; on which device and for how long; and the directory.

    It belongs after :class:`~partinr.callbacks.manifest.Manifest`, whose facts it prints.
    """

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Print them, on the first of several processes."""
        if trainer.is_global_zero:
            module, console = regime(pl_module), terminal()
            lines = describe(self.run.manifest(), self.run.config(), module.title, module.stop)
            for line in (*lines, f"into     {short(self.run.path)}"):
                console.print(line, highlight=False, soft_wrap=True)


NEAR = 0.03
"""Relative difference from a requested number of parameters up to which the reached one stands for it."""


def describe(manifest: Mapping[str, Any], config: Mapping[str, Any], title: str, stop: Any) -> list[str]:
    """What is fitted, and on what and how long.

    Args:
        manifest: content of ``run.json``.
        config: the composed configuration.
        title: the regime's title.
        stop: its rule to stop.
    """
    shape = manifest["signal"].get("shape")
    parts = ["×".join(map(str, shape))] if shape else []
    parts += [title, f"{manifest['parameters']:,} parameters{_off(manifest, config)}"]
    hardware = manifest["hardware"]
    several = f"{hardware['devices']} processes, " if hardware["devices"] > 1 else ""
    device = hardware["gpu"] or hardware["device"]
    threads = "1 thread" if hardware["threads"] == 1 else f"{hardware['threads']} threads"
    return [
        f"fit      {visible(manifest['name'])}: {', '.join(parts)}",
        f"on       {several}{device}, {threads}; {_duration(stop)}",
    ]


def _off(manifest: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """How far the parameters of a signal are from ``backbone.match_params``, since widths are whole numbers."""
    if "changes" in manifest:  # of a live partition, for which the number is that of its last regions
        return " at the beginning"
    backbone = config.get("backbone") or {}
    wanted = None if backbone.get("hidden_features") is not None else backbone.get("match_params")
    reached = manifest["parameters"] / max(1, len(manifest.get("images") or ()))
    if wanted is None or abs(reached / wanted - 1) <= NEAR:
        return ""
    more = "more" if reached > wanted else "fewer"
    return f" ({abs(reached / wanted - 1):.0%} {more} than backbone.match_params={wanted}: widths are whole numbers)"


SECONDS = {"wall": "s", "cpu": "CPU s"}
"""The unit of ``max_seconds``."""


def _duration(stop: Any) -> str:
    """How long a run takes at most: seconds where they are limited, else steps, whose pace is not known yet."""
    limits = [] if stop.max_steps is None else [f"{stop.max_steps:,} steps"]
    limits += [] if stop.max_seconds is None else [f"{stop.max_seconds:g} {SECONDS[stop.clock]} of training"]
    until = "" if stop.target_psnr is None else f"until {stop.target_psnr:g} dB, at most "
    return until + " or ".join(limits)

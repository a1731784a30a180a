"""Starts from an encoder that networks have shared in training on other signals, with a cache.

Vyas et al., "Learning Transferable Features for Implicit Neural Representations" (STRAINER, NeurIPS 2024): k networks
fit k signals. They share all layers but the last; the last layers are their own (section 3.1). A fit then begins with
the shared layers and a random last layer, and trains all of them (section 3.2).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from partinr.backbones import Backbone, backbone_name
from partinr.base.errors import PartinrError, named
from partinr.base.files import write_atomically
from partinr.base.spec import course, spec
from partinr.engines import EngineName
from partinr.model.groups import NetworkGroup
from partinr.model.serialise import deserialise, serialise
from partinr.model.stack import NetworkStack
from partinr.regimes.starts.base import Fitted, Start

if TYPE_CHECKING:
    from partinr.regimes.base import RunContext

FORMAT = 1
"""Version of the layout of a kept encoder, and of how it is trained."""


class Task(NamedTuple):
    """What networks of one width are trained on: k signals at the same points.

    Attributes:
        coords: float32 ``[M, d]``, sorted by network.
        network: int64 ``[M]``, ascending, which of a signal's n networks each point belongs to.
        targets: float32 ``[k, M, C]``.
    """

    coords: Tensor
    network: Tensor
    targets: Tensor


class Encoder(NamedTuple):
    """Layers that networks have shared, and what their training took.

    Attributes:
        tensors: by name, ``[1, *shape]``.
        seconds: of training; of a kept encoder, when it was made.
        macs: multiply-accumulates of the forward passes.
    """

    tensors: dict[str, Tensor]
    seconds: float
    macs: int


@spec
class Pretrained(Start):
    """Begins with the first layers of networks that were trained on other signals; the others stay random.

    All networks of one width begin with the same layers. Encoders are kept in ``cache_dir`` by the content of all that
    they follow from: architecture, options, signals.

    Attributes:
        count: number of signals, k.
        steps: optimiser steps (Adam).
        points_per_step: points of a step, over all signals.
        lr: learning rate.
        layers: number of first layers that are shared; None for all but the last.
        seed: seed of weights and points.
    """

    count: Annotated[int, Field(ge=1)] = 10
    steps: Annotated[int, Field(ge=1)] = 1000
    points_per_step: Annotated[int, Field(ge=1)] = 4096
    lr: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1e-4
    layers: Annotated[int, Field(ge=1)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0

    @abstractmethod
    def tasks(self, fitted: Fitted, context: RunContext) -> Sequence[Task]:
        """The task of each width of the model, in the order of its groups.

        Args:
            fitted: the signal that is fitted, and its model.
            context: configuration of the run.

        Raises:
            PartinrError: the signals cannot be used.
        """

    def identity(self) -> dict[str, Any]:
        """The options."""
        return {"start": {"kind": self.title, **course(self)}}

    def begin(self, fitted: Sequence[Fitted], context: RunContext) -> None:
        """Copy the encoder into each network, and say what it took."""
        if context.continued:
            return
        known: dict[str, Encoder] = {}
        made = 0
        for each in fitted:
            with named(each.name):
                if any(group.shares for group in each.model.groups):
                    raise PartinrError(
                        f"start={self.title} gives each network layers of its own, and global_network="
                        f"{each.model.global_network} shares them; leave start=random, or give global_network=false"
                    )
                tasks = self.tasks(each, context)
                for group, task in zip(each.model.groups, tasks, strict=True):
                    key = self._key(group.backbone, task)
                    if key not in known:
                        found = _kept(context.cache_dir, key)
                        made += found is None
                        known[key] = found or self._made(group.backbone, task, context, key)
                    _copy(known[key], group, each.model)
        seconds = sum(encoder.seconds for encoder in known.values())
        context.begun["seconds"] = {**context.begun.get("seconds", {}), "start": seconds}
        macs = sum(encoder.macs for encoder in known.values())
        context.begun["start"] = {"kind": self.title, "macs": macs, "made": made, "kept": len(known) - made}
        kept = "" if context.cache_dir is None else f", kept in {context.cache_dir}"
        took = f"took {seconds:.1f} s{kept}" if made else f"is from the cache; it took {seconds:.1f} s when it was made"
        context.note(f"start={self.title}: the training of the first layers on {self.count} signals {took}")

    def _shared(self, backbone: Backbone) -> frozenset[str]:
        """Names of the parameters of the first layers, with those that are not trained.

        Raises:
            PartinrError: the backbone does not say which its layers are, or has fewer.
        """
        layers = backbone.layers()
        if layers is None:
            raise PartinrError(
                f"start={self.title} begins with first layers, and {backbone.title} does not say which its layers are "
                "(Backbone.layers); leave start=random"
            )
        count = len(layers) - 1 if self.layers is None else self.layers
        if not 1 <= count < len(layers):
            raise PartinrError(
                f"start.layers={count} of the {len(layers)} layers of {backbone.title}; give 1 to {len(layers) - 1}, "
                "since the last layer stays random"
            )
        return frozenset(name for layer in layers[:count] for name in layer) | backbone.fixed

    def _made(self, backbone: Backbone, task: Task, context: RunContext, key: str) -> Encoder:
        """A newly trained encoder, kept in the cache."""
        began = time.perf_counter()
        tensors = self.trained(backbone, task, context.engine, torch.device(context.device_type))
        points = self._points(task) * self.count
        macs = self.steps * points * backbone.macs(task.coords.shape[1], task.targets.shape[2])
        encoder = Encoder(tensors, time.perf_counter() - began, macs)
        _keep(context.cache_dir, key, encoder, {"backbone": backbone_name(backbone), "engine": context.engine})
        return encoder

    def _points(self, task: Task) -> int:
        """Points of each signal in a step."""
        return min(len(task.coords), max(1, self.points_per_step // self.count))

    def trained(
        self,
        backbone: Backbone,
        task: Task,
        engine: EngineName = "auto",
        device: torch.device | None = None,
    ) -> dict[str, Tensor]:
        """The first layers after training on a task: ``[1, *shape]`` each, on the CPU.

        Args:
            backbone: architecture with a definite width.
            task: the signals.
            engine: how networks are evaluated.
            device: where; None for the CPU.
        """
        shared, (signals, samples, channels) = self._shared(backbone), task.targets.shape
        heads = signals * (int(task.network[-1]) + 1)
        features, generator = task.coords.shape[1], torch.Generator().manual_seed(self.seed)
        coords, targets = task.coords.to(device), task.targets.to(device)
        networks = NetworkStack(backbone, 1, in_features=features, channels=channels, engine=engine, seed=self.seed).to(
            device
        )
        encoder = {name: value for name, value in networks.stack.items() if name in shared}
        own = {
            name: nn.Parameter(value.to(device))
            for name, value in backbone.init(heads, features, channels, generator).items()
            if name not in shared
        }
        trained = [value for value in encoder.values() if value.requires_grad]
        optimizer = torch.optim.Adam([*trained, *own.values()], lr=self.lr)
        points = self._points(task)
        for _ in range(self.steps):
            rows = torch.arange(samples)
            if points < samples:
                rows = torch.randint(samples, (points,), generator=generator).sort().values
            sizes = torch.bincount(task.network[rows], minlength=heads // signals).tolist() * signals
            params = {name: value.expand(heads, *value.shape[1:]) for name, value in encoder.items()} | own
            seen = targets[:, rows.to(targets.device)].reshape(-1, channels)
            at = coords[rows.to(coords.device)].repeat(signals, 1)
            optimizer.zero_grad()
            (networks.squared_error(at, seen, sizes, params=params) / seen.numel()).backward()
            optimizer.step()
        return {name: value.detach().cpu() for name, value in encoder.items()}

    def _key(self, backbone: Backbone, task: Task) -> str:
        """The first 32 hexadecimal digits of a SHA-256 over everything that an encoder follows from."""
        about = {
            "format": FORMAT,
            "backbone": backbone_name(backbone),
            "options": dataclasses.asdict(backbone),
            "shared": sorted(self._shared(backbone)),
            "training": [self.count, self.steps, self.points_per_step, self.lr, self.seed],
        }
        content = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
        for tensor in task:
            content.update(f"{list(tensor.shape)}".encode())
            content.update(tensor.contiguous().numpy().data)
        return content.hexdigest()[:32]


@torch.no_grad()
def _copy(encoder: Encoder, group: NetworkGroup, model: NetworkStack) -> None:
    """Copy shared layers into all networks of a width."""
    for name, value in encoder.tensors.items():
        own = model.stack[f"{group.prefix}{name}"]
        own.copy_(value.expand_as(own))


def _file(folder: Path, key: str) -> Path:
    return folder / f"start-{key}.safetensors"


def _kept(folder: Path | None, key: str) -> Encoder | None:
    """The encoder of a key; None if it is missing or damaged."""

    def read(header: dict[str, Any], tensors: dict[str, Tensor]) -> Encoder:
        return Encoder(tensors, float(header["seconds"]), int(header["macs"]))

    if folder is None:
        return None
    try:
        return deserialise(_file(folder, key), "partinr_encoder", FORMAT, read, what="an encoder", cure="another")
    except PartinrError:
        return None


def _keep(folder: Path | None, key: str, encoder: Encoder, about: dict[str, Any]) -> None:
    """Store an encoder for a key.

    Raises:
        PartinrError: the folder cannot be written.
    """
    if folder is None:
        return
    header = {"format": FORMAT, **about, "seconds": encoder.seconds, "macs": encoder.macs}
    try:
        write_atomically(_file(folder, key), serialise("partinr_encoder", header, encoder.tensors))
    except OSError as error:
        raise PartinrError(
            f"cannot keep a start in {folder}: {error.strerror}; "
            "choose another place with cache_dir=PATH, or none with cache_dir=null"
        ) from error

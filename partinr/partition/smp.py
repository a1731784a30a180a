"""Regions from a trained network of segmentation-models-pytorch (SMP)."""

from __future__ import annotations

import difflib
import hashlib
import io
import json
import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch.nn import functional

from partinr.base.errors import PartinrError
from partinr.base.later import Later
from partinr.base.spec import READS, spec
from partinr.base.text import decoded
from partinr.partition.segmentation import ImageSegmentation
from partinr.partition.weights import WeightsError, read_weights, weights_of
from partinr.signals import SignalSet
from partinr.signals.userfile import quoted

if TYPE_CHECKING:
    import huggingface_hub
    import segmentation_models_pytorch as smp
    from huggingface_hub import utils as hub_utils
else:
    smp = Later("segmentation_models_pytorch")
    huggingface_hub = Later("huggingface_hub")
    hub_utils = Later("huggingface_hub.utils")

_FILES = ("config.json", "model.safetensors")
"""The files that ``save_pretrained`` of an SMP network writes."""

_OPTIONS = ("architecture", "encoder", "classes", "checkpoint")
_ALL_OPTIONS = "partition.architecture, partition.encoder, partition.classes and partition.checkpoint"

_HUB_NAME = re.compile(r"\w[\w.-]*/[\w.-]+")

_PATIENCE = 5
"""Seconds to wait for an answer from the hub."""

Preprocessing = Literal["encoder", "imagenet", "inception", "none"]

_NORMALISATION: dict[str, tuple[list[float], list[float]]] = {
    "imagenet": ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    "inception": ([0.5, 0.5, 0.5], [0.5, 0.5, 0.5]),
    "dpn": ([124 / 255, 117 / 255, 104 / 255], [1 / (0.0167 * 255)] * 3),
    "none": ([0.0, 0.0, 0.0], [1.0, 1.0, 1.0]),
}
"""Mean and standard deviation of R, G and B in [0, 1]."""

# SMP asks the hub for the normalisation of its own encoders, and a local network must do without the hub. These are the
# encoders (by the start of the name) and the pretrained weights that do not use ImageNet's. Source: SMP 0.4, which
# carried the numbers itself, and the packages it took them from (pretrainedmodels 0.7, timm).
_OF_ENCODER = (("dpn", "dpn"), ("inception", "inception"), ("xception", "inception"), ("timm-tf_", "inception"))
_OF_WEIGHTS = {"advprop": "inception"}

# In output strides of the encoder: the step and the least value of an image's sides.
_STEP = {"DPT": 2}  # its decoder starts at half of the encoder's resolution
_LEAST = {"PAN": 8}  # it halves the encoder's last features three times


@spec
class Smp(ImageSegmentation):
    """The most likely class of each pixel, according to a network of segmentation-models-pytorch.

    Name the network with ``model``, or describe it with ``architecture``, ``encoder``, ``classes`` and ``checkpoint``.
    It runs on CUDA where there is a GPU. The image is padded at its right and lower edge to a size that the network
    accepts. A network of one class gives two segments: where its logit is above 0, and the rest.

    Attributes:
        model: a folder written by ``save_pretrained``, or a name on the Hugging Face hub, OWNER/NAME.
        architecture: such as ``unet``; see ``segmentation_models_pytorch.create_model``.
        encoder: such as ``resnet34``, or ``tu-`` and a name of timm.
        classes: number of classes of the network.
        checkpoint: a file with the network's weights, by ``torch.save`` or safetensors: a state dict, alone or in a
            checkpoint of Lightning or of a script, under any prefix (``model.``, ``module.``, ``_orig_mod.`` …). Of
            weights and their average (``ema`` …), the weights are taken. No code in the file is run.
        preprocessing: normalisation of the image in [0, 1]: that of the ``encoder``'s pretrained weights (none, for an
            encoder without), ``imagenet`` or ``inception`` (their mean and standard deviation), or ``none``.
    """

    model: Annotated[str | None, READS] = None
    architecture: str | None = None
    encoder: str | None = None
    classes: Annotated[int, Field(ge=1)] | None = None
    checkpoint: Annotated[str | None, READS] = None
    preprocessing: Preprocessing = "encoder"

    def __post_init__(self) -> None:
        """Check that the options name one network, and that its files exist.

        Raises:
            PartinrError: they name none or two, an option is missing, or a file.
        """
        given = [name for name in _OPTIONS if getattr(self, name) is not None]
        if self.model is not None:
            if given:
                raise PartinrError(f"partition.model excludes partition.{given[0]}; give one or the other")
            _check_model(self.model)
            return
        if not given:
            raise PartinrError(
                f"partition=smp has no network; give partition.model=FOLDER or OWNER/NAME, or {_ALL_OPTIONS}"
            )
        for name in _OPTIONS:
            if name not in given:
                raise PartinrError(f"partition.{name} is missing; give {_ALL_OPTIONS}, or partition.model alone")
        file = self._files()[0]
        if not file.is_file():
            what = "is a folder" if file.is_dir() else "does not exist"
            raise PartinrError(
                f"partition.checkpoint={self.checkpoint} {what}; give a file with the network's state dict"
            )

    def segments(self, image: NDArray[np.float32]) -> NDArray[np.integer[Any]]:
        """The class of each pixel.

        Raises:
            PartinrError: the network cannot be found or read, or fails on this image.
        """
        files = self._files()
        network, preprocessing = _network(self, files, _digests(files))
        height, width = image.shape[:2]
        below, beside = (_side(network, side) - side for side in (height, width))
        seen = np.pad(image, ((0, below), (0, beside), (0, 0)), mode="edge")
        # SMP expects its caller to bring the values into the encoder's range.
        seen = smp.encoders.preprocess_input(seen * preprocessing["input_range"][1], **preprocessing)
        pixels = torch.from_numpy(seen.astype(np.float32)).permute(2, 0, 1).unsqueeze(0)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        cure = "give a smaller partition.max_pixels, or another network"
        try:
            with (
                _explained(f"the network of partition=smp fails on an image of {height}×{width}", cure),
                torch.inference_mode(),
                torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False),
            ):
                logits = network.to(device)(pixels.to(device))
                if isinstance(logits, tuple):  # the network also has a head that classifies the image
                    logits = logits[0]
                if logits.shape[2:] != pixels.shape[2:]:  # the network leaves upsampling to its caller
                    logits = functional.interpolate(logits, pixels.shape[2:], mode="bilinear", align_corners=True)
                logits = logits[0, :, :height, :width]
                found = logits[0] > 0 if len(logits) == 1 else logits.argmax(0)
                labels: NDArray[np.int64] = found.long().cpu().numpy()
        finally:
            network.to("cpu")  # kept for the next image; the GPU's memory is for the fit
        return labels

    def fingerprint(self) -> dict[str, Any]:
        """The options, the content of the network's files instead of their place, and the versions of SMP and timm.

        Raises:
            PartinrError: the network cannot be found.
        """
        about = {key: value for key, value in super().fingerprint().items() if key not in ("model", "checkpoint")}
        return {
            **about,
            "files": list(_digests(self._files())),
            "smp": version("segmentation-models-pytorch"),
            "timm": version("timm"),
        }

    def members(self, field: str, folder: Path, data: SignalSet) -> Sequence[Path]:
        """The two files of a saved network."""
        return self._files()

    def _files(self) -> tuple[Path, ...]:
        """The checkpoint, or configuration and weights, downloaded from the hub if necessary."""
        if self.checkpoint is not None:
            return (Path(self.checkpoint).expanduser(),)
        assert self.model is not None  # __post_init__ refuses both None
        folder = Path(self.model).expanduser()
        return tuple((folder if folder.is_dir() else _downloaded(self.model)) / name for name in _FILES)


def _check_model(model: str) -> None:
    """Check that a folder has the files of a network, or that its name may be one on the hub."""
    folder = Path(model).expanduser()
    if folder.is_dir():
        for name in _FILES:
            if not (folder / name).is_file():
                raise PartinrError(
                    f"partition.model={model} has no {name}; give a folder that save_pretrained of a network of "
                    "segmentation-models-pytorch has written"
                )
    elif folder.exists():
        raise PartinrError(
            f"partition.model={model} is a file; give its folder, or a state dict with partition.checkpoint"
        )
    elif not _HUB_NAME.fullmatch(model):
        raise PartinrError(
            f"partition.model={model} does not exist; give a folder with {' and '.join(_FILES)}, or OWNER/NAME for "
            "one of the Hugging Face hub"
        )


@lru_cache(maxsize=1)
def _network(rule: Smp, files: tuple[Path, ...], digests: tuple[str, ...]) -> tuple[Any, dict[str, Any]]:
    """The network of a rule, on the CPU, and its preprocessing in SMP's terms.

    The network used last is kept, since the next image usually needs the same one.

    Args:
        rule: names the network.
        files: its files.
        digests: of their content, so that changed files are read again.
    """
    # A new network draws random weights first.
    with _quiet(), torch.random.fork_rng(devices=[]):
        network, weights = _saved(rule, *files) if rule.checkpoint is None else (_assembled(rule, *files), None)
        return network.eval(), _preprocessing(rule.preprocessing, network.config["encoder_name"], weights)


def _saved(rule: Smp, config: Path, weights: Path) -> tuple[Any, str | None]:
    """The network in a folder, and the name of its encoder's pretrained weights."""
    what = f"partition.model={rule.model} is no network of segmentation-models-pytorch, or it is damaged"
    with _explained(what, "give a folder that its save_pretrained has written"):
        about = json.loads(decoded(config.read_bytes()))
        options = _any_size(about["_model_class"])
        # Without encoder_weights=None, SMP would download the encoder's pretrained weights, only to replace them.
        network = smp.from_pretrained(str(weights.parent), encoder_weights=None, activation=None, **options)
    if about.get("in_channels", 3) != 3:
        raise PartinrError(
            f"partition.model={rule.model} takes images of {about['in_channels']} channels; give a network for RGB"
        )
    return network, about.get("encoder_weights")


def _assembled(rule: Smp, checkpoint: Path) -> Any:
    """The network that the options describe, with the weights of a checkpoint."""
    kinds = {name: kind.__name__ for name, kind in smp.MODEL_ARCHITECTURES_MAPPING.items()}
    architecture, encoder = str(rule.architecture).lower(), str(rule.encoder)
    if architecture not in kinds:
        raise _unknown("architecture", architecture, list(kinds))
    encoders = smp.encoders.get_encoder_names()
    if not encoder.startswith(("tu-", "timm-")) and encoder not in encoders:
        raise _unknown("encoder", encoder, encoders)
    try:
        tensors = read_weights(checkpoint)
    except WeightsError as error:
        raise _no_weights(rule, str(error)) from error
    with _explained(f"there is no {architecture} with the encoder {encoder}", "choose another with partition.encoder"):
        network = smp.create_model(architecture, encoder, None, classes=rule.classes, **_any_size(kinds[architecture]))
    weights = weights_of(tensors, network.state_dict().keys())
    if not weights:
        names = ", ".join(list(tensors)[:3])
        raise _no_weights(rule, f"its tensors are {names}{' …' if len(tensors) > 3 else ''}" if names else "no tensors")
    with _explained(
        f"partition.checkpoint={rule.checkpoint} does not fit {architecture} with {encoder} and {rule.classes} classes",
        "correct these options, or, if it has others, give a folder that its save_pretrained has written with "
        "partition.model",
        line=1,
    ):
        network.load_state_dict(weights)
    return network


def _no_weights(rule: Smp, reason: str) -> PartinrError:
    return PartinrError(
        f"partition.checkpoint={rule.checkpoint} has no state dict of a network of segmentation-models-pytorch "
        f"({reason}); write one with torch.save(network.state_dict(), FILE)"
    )


def _preprocessing(choice: Preprocessing, encoder: str, weights: str | None) -> dict[str, Any]:
    """``mean``, ``std``, ``input_space`` and ``input_range``, as SMP's ``preprocess_input`` takes them."""
    name: str = choice
    if choice == "encoder" and encoder.startswith("tu-"):
        try:
            settings: dict[str, Any] = smp.encoders.get_preprocessing_params(encoder)  # from timm, without the hub
            return settings
        except ValueError:  # there are no pretrained weights
            name = "none"
    elif choice == "encoder":
        of_encoder = (numbers for start, numbers in _OF_ENCODER if encoder.startswith(start))
        name = _OF_WEIGHTS.get(str(weights)) or next(of_encoder, "imagenet")
    mean, std = _NORMALISATION[name]
    return {"mean": mean, "std": std, "input_space": "RGB", "input_range": [0, 1]}


def _side(network: Any, side: int) -> int:
    """The smallest side of an image, at least ``side``, that a network accepts."""
    kind, stride = type(network).__name__, network.encoder.output_stride
    step = stride * _STEP.get(kind, 1)
    return max(-(-side // step) * step, stride * _LEAST.get(kind, 1))


def _any_size(kind: str) -> dict[str, Any]:
    """The options with which a network of this class accepts images of any size."""
    return {"dynamic_img_size": True} if kind == "DPT" else {}


@lru_cache(maxsize=8)
def _downloaded(name: str) -> Path:
    """The folder with a network from the hub; the same for every image of a process.

    Raises:
        PartinrError: the network can neither be downloaded nor is it in the local cache.
    """
    unreachable = None
    with _quiet():
        try:
            # Without this question, the client would wait for the files for half a minute, or for ever.
            huggingface_hub.HfApi().model_info(name, timeout=_PATIENCE)
        except Exception as error:  # from whichever library the client uses
            unreachable = error
        try:
            here = unreachable is not None
            folder = Path(huggingface_hub.snapshot_download(name, allow_patterns=list(_FILES), local_files_only=here))
        except Exception as error:
            cause = unreachable or error
            raise PartinrError(
                f"partition.model={name} is no folder here, and the Hugging Face hub does not give it "
                f"({type(cause).__name__}); check the name, or download it on a machine with a network (hf download "
                f"{name} --local-dir FOLDER) and give that folder, with its {' and '.join(_FILES)}"
            ) from cause
    for file in _FILES:
        if not (folder / file).is_file():
            raise PartinrError(
                f"partition.model={name} has no {file} on the Hugging Face hub; choose a network that "
                "segmentation-models-pytorch has saved there"
            )
    return folder


def _digests(files: tuple[Path, ...]) -> tuple[str, ...]:
    digests = []
    for file in files:
        try:
            state = file.stat()
            digests.append(_sha256(file, state.st_size, state.st_mtime_ns))
        except OSError as error:
            raise PartinrError(f"{quoted(file)} cannot be read: {error.strerror}; check the file") from error
    return tuple(digests)


@lru_cache(maxsize=8)
def _sha256(file: Path, size: int, changed: int) -> str:
    """Digest of a file's content, computed again when its size or time changes."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the libraries' output from the terminal; the errors raised here tell what matters."""
    logger = logging.getLogger("huggingface_hub")
    level, shown = logger.level, not hub_utils.are_progress_bars_disabled()
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logger.setLevel(logging.CRITICAL + 1)
        hub_utils.disable_progress_bars()
        try:
            yield
        finally:
            logger.setLevel(level)
            if shown:
                hub_utils.enable_progress_bars()


@contextmanager
def _explained(what: str, cure: str, line: int = 0) -> Iterator[None]:
    """Turn any error of a library into one line: ``what``, the kind of the error, a line of its message and ``cure``.

    Args:
        what: went wrong.
        cure: what to do.
        line: which line of the library's message to quote; its last if there are fewer.
    """
    try:
        yield
    except Exception as error:  # SMP, timm and torch raise many kinds
        lines = str(error).splitlines() or [""]
        said = " ".join(lines[min(line, len(lines) - 1)].split()).rstrip(".")
        said = said if len(said) <= 160 else said[:159] + "…"
        raise PartinrError(f"{what}: {type(error).__name__}: {said}; {cure}") from error


def _unknown(option: str, name: str, known: list[str]) -> PartinrError:
    near = difflib.get_close_matches(name, known, n=1)
    advice = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
    return PartinrError(f"segmentation-models-pytorch has no {option} {name!r}; {advice}")

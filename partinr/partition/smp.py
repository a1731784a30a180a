"""Regions from a trained network: segmentation-models-pytorch (SMP)."""

from __future__ import annotations

import difflib
import hashlib
import io
import json
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch.nn import functional

from partinr.base.errors import PartinrError
from partinr.base.spec import spec
from partinr.partition.segmentation import ImageSegmentation
from partinr.signals.decode import quoted

_FILES = ("config.json", "model.safetensors")
"""What ``save_pretrained`` of a network of SMP writes."""

_HUB_NAME = re.compile(r"\w[\w.-]*/[\w.-]+")

_PATIENCE = 5
"""Seconds after which a hub that does not answer counts as out of reach."""

Preprocessing = Literal["encoder", "imagenet", "inception", "none"]

_NORMALISATION: dict[str, tuple[list[float], list[float]]] = {
    "imagenet": ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    "inception": ([0.5, 0.5, 0.5], [0.5, 0.5, 0.5]),
    "dpn": ([124 / 255, 117 / 255, 104 / 255], [1 / (0.0167 * 255)] * 3),
    "none": ([0.0, 0.0, 0.0], [1.0, 1.0, 1.0]),
}
"""Mean and standard deviation of R, G and B in [0, 1]."""

# For the numbers of its own encoders SMP asks the hub, which a network in a local folder must do without. These are the
# encoders, and the weights of some, whose numbers are not ImageNet's, by what the name begins with: from SMP 0.4, which
# carried them itself, and the packages that it took them from (pretrainedmodels 0.7, timm).
_OF_ENCODER = (("dpn", "dpn"), ("inception", "inception"), ("xception", "inception"), ("timm-tf_", "inception"))
_OF_WEIGHTS = {"advprop": "inception"}

# In output strides of the encoder: what an image's sides must be a multiple of, and what they are at least.
_STEP = {"DPT": 2}  # its decoder begins at half of the encoder's resolution
_LEAST = {"PAN": 8}  # it halves the encoder's last features three times


@spec
class Smp(ImageSegmentation):
    """The most likely class of each pixel, by a network of segmentation-models-pytorch.

    The network is given whole, with ``model``; or as ``architecture``, ``encoder``, ``classes`` and a ``checkpoint``.
    It runs on CUDA where there is one. The image is continued beyond its right and lower edge until it has a size that
    the network takes. A network of one class gives two segments: where its logit is above 0, and the rest.

    Attributes:
        model: a folder that ``save_pretrained`` has written, or a name on the Hugging Face hub, OWNER/NAME.
        architecture: such as ``unet``; see ``segmentation_models_pytorch.create_model``.
        encoder: such as ``resnet34``, or ``tu-`` and a name of timm.
        classes: of the network.
        checkpoint: a file with its state dict, alone or (as Lightning writes it) under ``state_dict``; a prefix of all
            names, such as ``model.``, does not matter.
        preprocessing: what the image, in [0, 1], goes through: what belongs to the weights that the ``encoder`` was
            pretrained with (nothing, for an encoder without), ``imagenet`` or ``inception`` (their mean and standard
            deviation), or ``none``.
    """

    model: str | None = None
    architecture: str | None = None
    encoder: str | None = None
    classes: Annotated[int, Field(ge=1)] | None = None
    checkpoint: str | None = None
    preprocessing: Preprocessing = "encoder"

    def __post_init__(self) -> None:
        """Check that there is one network, and its files.

        Raises:
            PartinrError: there is none, there are two, an option is missing, or a file.
        """
        names = ("architecture", "encoder", "classes", "checkpoint")
        given = [name for name in names if getattr(self, name) is not None]
        if self.model is not None:
            if given:
                raise PartinrError(f"partition.model excludes partition.{given[0]}; give one or the other")
            self._check_model(self.model)
            return
        all_of_them = "partition.architecture, partition.encoder, partition.classes and partition.checkpoint"
        if not given:
            raise PartinrError(
                f"partition=smp has no network; give partition.model=FOLDER or OWNER/NAME, or {all_of_them}"
            )
        for name in names:
            if name not in given:
                raise PartinrError(f"partition.{name} is missing; give {all_of_them}, or partition.model alone")
        file = self._files()[0]
        if not file.is_file():
            what = "is a folder" if file.is_dir() else "does not exist"
            raise PartinrError(
                f"partition.checkpoint={self.checkpoint} {what}; give a file with the network's state dict"
            )

    def _check_model(self, model: str) -> None:
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

    def segments(self, image: NDArray[np.float32]) -> NDArray[np.integer[Any]]:
        """The number of the class of each pixel.

        Raises:
            PartinrError: the network cannot be got or read, or cannot take this image.
        """
        files = self._files()
        network, preprocessing = _network(self, files, _digests(files))
        from segmentation_models_pytorch.encoders import preprocess_input

        height, width = image.shape[:2]
        below, beside = (_side(network, side) - side for side in (height, width))
        seen = np.pad(image, ((0, below), (0, beside), (0, 0)), mode="edge")
        # SMP leaves it to the caller to have the values in the range that the encoder knows.
        seen = preprocess_input(seen * preprocessing["input_range"][1], **preprocessing)
        pixels = torch.from_numpy(seen.astype(np.float32)).permute(2, 0, 1).unsqueeze(0)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            with (
                torch.inference_mode(),
                torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False),
            ):
                logits = network.to(device)(pixels.to(device))
                if isinstance(logits, tuple):  # there is a head that classifies the image, too
                    logits = logits[0]
                if logits.shape[2:] != pixels.shape[2:]:  # upsampling was left to the caller
                    logits = functional.interpolate(logits, pixels.shape[2:], mode="bilinear", align_corners=True)
                logits = logits[0, :, :height, :width]
                found = logits[0] > 0 if len(logits) == 1 else logits.argmax(0)
                labels: NDArray[np.int64] = found.long().cpu().numpy()
        except (RuntimeError, AssertionError, ValueError) as error:
            raise PartinrError(
                f"the network of partition=smp fails on an image of {height}×{width}: {_said(error)}; give a smaller "
                "partition.max_pixels, or another network"
            ) from error
        finally:
            network.to("cpu")  # it is kept for the next image; the memory of the accelerator is for the fit
        return labels

    def fingerprint(self) -> dict[str, Any]:
        """Beside the options the content of the network's files, not their place, and the versions of SMP and timm.

        Raises:
            PartinrError: the network cannot be got.
        """
        about = {key: value for key, value in super().fingerprint().items() if key not in ("model", "checkpoint")}
        return {
            **about,
            "files": list(_digests(self._files())),
            "smp": version("segmentation-models-pytorch"),
            "timm": version("timm"),
        }

    def _files(self) -> tuple[Path, ...]:
        """The checkpoint; or configuration and weights, which are got from the hub if need be."""
        if self.checkpoint is not None:
            return (Path(self.checkpoint).expanduser(),)
        assert self.model is not None  # or __post_init__ would have refused
        folder = Path(self.model).expanduser()
        if not folder.is_dir():
            folder = _downloaded(self.model)
        return tuple(folder / name for name in _FILES)


@lru_cache(maxsize=1)
def _network(rule: Smp, files: tuple[Path, ...], digests: tuple[str, ...]) -> tuple[Any, dict[str, Any]]:
    """The network of a rule, ready to use, on the CPU, and its preprocessing as SMP describes it.

    The one that was used last is kept: the next image is mostly for the same.

    Args:
        rule: which network.
        files: its files.
        digests: of their content, so that what is kept is not used when they have changed.
    """
    with _quiet(), torch.random.fork_rng(devices=[]):  # a network begins with random weights
        network, weights = _saved(rule, *files) if rule.checkpoint is None else (_assembled(rule, *files), None)
        return network.eval(), _preprocessing(rule.preprocessing, network.config["encoder_name"], weights)


def _saved(rule: Smp, config: Path, weights: Path) -> tuple[Any, str | None]:
    """The network in a folder, and the name of the weights that its encoder was pretrained with."""
    import segmentation_models_pytorch as smp

    try:
        about = json.loads(config.read_text(encoding="utf-8"))
        options = _any_size(about["_model_class"])
        # Without the first it would download the encoder's pretrained weights, only to replace them.
        network = smp.from_pretrained(str(weights.parent), encoder_weights=None, activation=None, **options)
    except Exception as error:  # the libraries raise what they like
        raise PartinrError(
            f"partition.model={rule.model} is no network of segmentation-models-pytorch, or it is damaged: "
            f"{_said(error)}; give a folder that its save_pretrained has written"
        ) from error
    if about.get("in_channels", 3) != 3:
        raise PartinrError(
            f"partition.model={rule.model} takes images of {about['in_channels']} channels; give a network for RGB"
        )
    return network, about.get("encoder_weights")


def _assembled(rule: Smp, checkpoint: Path) -> Any:
    """The network that the options describe, with the weights of a checkpoint."""
    import segmentation_models_pytorch as smp

    kinds = {name: kind.__name__ for name, kind in smp.MODEL_ARCHITECTURES_MAPPING.items()}
    architecture, encoder = str(rule.architecture).lower(), str(rule.encoder)
    if architecture not in kinds:
        raise _unknown("architecture", architecture, list(kinds))
    encoders = smp.encoders.get_encoder_names()
    if not encoder.startswith(("tu-", "timm-")) and encoder not in encoders:
        raise _unknown("encoder", encoder, encoders)
    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True)
        content = content.get("state_dict", content)
        # Every network of SMP has weights under "encoder."; what comes before is from whoever owned it.
        prefix = next(name[: name.index("encoder.")] for name in content if "encoder." in name)
    except Exception as error:  # torch.load raises what it likes
        raise PartinrError(
            f"partition.checkpoint={rule.checkpoint} has no state dict of a network of segmentation-models-pytorch; "
            "write one with torch.save(network.state_dict(), FILE)"
        ) from error
    try:
        network = smp.create_model(architecture, encoder, None, classes=rule.classes, **_any_size(kinds[architecture]))
    except Exception as error:  # the libraries raise what they like
        raise PartinrError(
            f"there is no {architecture} with the encoder {encoder}: {_said(error)}; choose another with "
            "partition.encoder"
        ) from error
    try:
        network.load_state_dict(
            {name.removeprefix(prefix): value for name, value in content.items() if name.startswith(prefix)}
        )
    except RuntimeError as error:
        raise PartinrError(
            f"partition.checkpoint={rule.checkpoint} does not fit {architecture} with {encoder} and {rule.classes} "
            f"classes: {_said(error, line=1)}; correct these options, or, if it has others, give a folder that its "
            "save_pretrained has written with partition.model"
        ) from error
    return network


def _preprocessing(choice: Preprocessing, encoder: str, weights: str | None) -> dict[str, Any]:
    """``mean``, ``std``, ``input_space`` and ``input_range``, as SMP's ``preprocess_input`` takes them."""
    name: str = choice
    if choice == "encoder":
        if encoder.startswith("tu-"):  # timm has the numbers with it
            from segmentation_models_pytorch.encoders import get_preprocessing_params

            try:
                settings: dict[str, Any] = get_preprocessing_params(encoder)
            except ValueError:  # nobody has pretrained it
                name = "none"
            else:
                return settings
        else:
            name = _OF_WEIGHTS.get(str(weights)) or next(
                (numbers for start, numbers in _OF_ENCODER if encoder.startswith(start)), "imagenet"
            )
    mean, std = _NORMALISATION[name]
    return {"mean": mean, "std": std, "input_space": "RGB", "input_range": [0, 1]}


def _side(network: Any, side: int) -> int:
    """So many pixels, or the next larger number that a network takes, of an image's side."""
    kind, stride = type(network).__name__, network.encoder.output_stride
    step = stride * _STEP.get(kind, 1)
    return max(-(-side // step) * step, stride * _LEAST.get(kind, 1))


def _any_size(kind: str) -> dict[str, Any]:
    """What a network of this class must be made with to take images of any size."""
    return {"dynamic_img_size": True} if kind == "DPT" else {}


@lru_cache(maxsize=8)
def _downloaded(name: str) -> Path:
    """The folder with a network of the hub; once a process, so that it stays the same from image to image.

    Raises:
        PartinrError: it can neither be got nor is it here from an earlier time.
    """
    from huggingface_hub import HfApi, snapshot_download

    with _quiet():
        unreachable = None
        try:
            # Asked for the files at once, the hub's client would wait for an answer without end, or for half a minute
            # of new tries.
            HfApi().model_info(name, timeout=_PATIENCE)
        except Exception as error:  # of whichever library is under the hub's client
            unreachable = error
        try:
            folder = snapshot_download(name, allow_patterns=list(_FILES), local_files_only=unreachable is not None)
        except Exception as error:
            cause = unreachable or error
            raise PartinrError(
                f"partition.model={name} is no folder here, and the Hugging Face hub does not give it "
                f"({type(cause).__name__}); check the name, or download it on a machine with a network (hf download "
                f"{name} --local-dir FOLDER) and give that folder, with its {' and '.join(_FILES)}"
            ) from cause
    for file in _FILES:
        if not (Path(folder) / file).is_file():
            raise PartinrError(
                f"partition.model={name} has no {file} on the Hugging Face hub; choose a network that "
                "segmentation-models-pytorch has saved there"
            )
    return Path(folder)


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
    """Of a file's content; ``size`` and ``changed`` (time) say when to read it again."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


@contextmanager
def _quiet() -> Iterator[None]:
    """No word of the libraries reaches the terminal; what somebody should know is in the errors raised here."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    logger = logging.getLogger("huggingface_hub")
    level, shown = logger.level, not are_progress_bars_disabled()
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logger.setLevel(logging.CRITICAL + 1)
        disable_progress_bars()
        try:
            yield
        finally:
            logger.setLevel(level)
            if shown:
                enable_progress_bars()


def _unknown(option: str, name: str, known: list[str]) -> PartinrError:
    near = difflib.get_close_matches(name, known, n=1)
    advice = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
    return PartinrError(f"segmentation-models-pytorch has no {option} {name!r}; {advice}")


def _said(error: Exception, line: int = 0) -> str:
    """A line of what a library says, or the last if there are fewer, not too long, with the kind of the error."""
    lines = str(error).splitlines() or [""]
    said = " ".join(lines[min(line, len(lines) - 1)].split()).rstrip(".")
    return f"{type(error).__name__}: {said if len(said) <= 160 else said[:159] + '…'}"

"""Partition by a trained network: right on images it has not seen, of any size, and one line where it cannot be."""

from __future__ import annotations

import importlib
import itertools
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from partinr.base.errors import PartinrError
from partinr.partition import LabelCache, Smp, make
from partinr.partition.merge import components
from tests.covering import cases, covering

ENCODER = "mobilenet_v2"
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
SIZES = [(64, 64), (45, 70), (97, 131), (160, 50)]

Scene = tuple[np.ndarray, np.ndarray]


def scene(rng: np.random.Generator, height: int, width: int, channels: int = 3) -> Scene:
    """An image ``[H, W, C]`` of a bright disc and a grey square on a dark ground, and the class of each pixel."""
    rows, cols = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    radius = min(height, width) * rng.uniform(0.14, 0.2)
    across, along = rng.uniform(0.4, 0.6, 2) * min(height, width), np.array([0.25, 0.75]) * max(height, width)
    (y_1, x_1), (y_2, x_2) = zip(along if height > width else across, across if height > width else along, strict=True)
    classes = np.zeros((height, width), dtype=np.int64)
    classes[(rows - y_1) ** 2 + (cols - x_1) ** 2 < radius**2] = 1
    classes[np.maximum(abs(rows - y_2), abs(cols - x_2)) < radius] = 2
    if rng.random() < 0.5:
        classes = np.ascontiguousarray(classes[::-1, ::-1])
    levels = ((0.0, 0.2), (0.8, 1.0), (0.45, 0.6))
    colours = np.array([rng.uniform(low, high, channels) for low, high in levels])
    image = colours[classes] + 0.05 * rng.standard_normal((height, width, channels))
    return np.clip(image, 0, 1).astype(np.float32), classes


def signal(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image)


def agreement(labels: torch.Tensor, classes: np.ndarray) -> float:
    """The share of the pixels that have the right one of three regions, however these are numbered."""
    return max(float(np.mean(np.array(order)[labels.numpy()] == classes)) for order in itertools.permutations(range(3)))


def library() -> Any:
    """SMP, imported here because partinr must mend torchvision first, and other tests need not wait for it."""
    return importlib.import_module("segmentation_models_pytorch")


def made(architecture: str = "linknet", encoder: str = ENCODER, **options: Any) -> Any:
    """A network with random weights, always the same."""
    torch.manual_seed(0)
    return library().create_model(architecture, encoder, None, **{"classes": 3, **options}).eval()


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def network() -> Any:
    """A network that has learned the three classes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    made_network, rng = made().train(), np.random.default_rng(0)
    optimizer = torch.optim.Adam(made_network.parameters(), lr=0.01)
    for _ in range(40):
        images, classes = (np.stack(each) for each in zip(*(scene(rng, 64, 64) for _ in range(4)), strict=True))
        pixels = torch.from_numpy((images - MEAN) / STD).float().permute(0, 3, 1, 2)
        optimizer.zero_grad()
        functional.cross_entropy(made_network(pixels), torch.from_numpy(classes)).backward()
        optimizer.step()
    torch.set_num_threads(threads)
    return made_network.eval()


@pytest.fixture(scope="module")
def folder(network: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What its ``save_pretrained`` writes."""
    path = tmp_path_factory.mktemp("networks") / "shapes"
    network.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def checkpoint(network: Any, folder: Path) -> dict[str, Any]:
    """The same network by its state dict: the options of the rule."""
    file = folder.parent / "shapes.pt"
    torch.save(network.state_dict(), file)
    return {"architecture": "linknet", "encoder": ENCODER, "classes": 3, "checkpoint": str(file)}


@pytest.fixture
def image() -> np.ndarray:
    return scene(np.random.default_rng(7), 45, 70)[0]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """What networks were given."""
    given: list[torch.Tensor] = []
    forward = library().Linknet.forward

    def look(self: Any, pixels: torch.Tensor) -> Any:
        given.append(pixels.clone())
        return forward(self, pixels)

    monkeypatch.setattr(library().Linknet, "forward", look)
    return given


# -- what it finds ------------------------------------------------------------------------------------------------


@covering(shape=SIZES, channels=[1, 3])
def test_regions_are_the_objects(folder, shape, channels):
    rule, rng = Smp(model=str(folder), regions=3), np.random.default_rng(1)
    for _ in range(2):
        values, classes = scene(rng, shape[0], shape[1], channels)
        assert np.mean(rule.segments(np.broadcast_to(values, (*shape, 3))) == classes) > 0.95
        partition = rule(signal(values))
        assert (partition.regions, partition.labels.dtype, partition.labels.device.type) == (3, torch.int64, "cpu")
        assert agreement(partition.labels, classes) > 0.95


def test_segments_are_taken_apart_and_merged(folder, image):
    rule = Smp(model=str(folder), regions=None)
    found = components(rule.segments(image))
    assert np.array_equal(rule(signal(image)).labels, found)
    assert Smp(model=str(folder), regions=2)(signal(image)).regions == 2


def test_a_large_image_is_looked_at_smaller(folder, seen):
    values, classes = scene(np.random.default_rng(2), 200, 160)
    partition = Smp(model=str(folder), regions=3, max_pixels=8000)(signal(values))
    assert seen[0].shape[2:] == (128, 96)  # 100 × 80 and what is added below and beside
    assert agreement(partition.labels, classes) > 0.95


def test_a_checkpoint_gives_what_the_folder_gives(folder, checkpoint, network, tmp_path, image):
    expected = Smp(model=str(folder)).segments(image)
    assert len(np.unique(expected)) == 3
    assert np.array_equal(Smp(**checkpoint).segments(image), expected)
    # As Lightning writes it: among other things, under the name that the network has in its module.
    lightning = {f"net.model.{name}": value for name, value in network.state_dict().items()}
    torch.save({"epoch": 3, "state_dict": {"loss.weight": torch.ones(3), **lightning}}, tmp_path / "last.ckpt")
    options = {**checkpoint, "checkpoint": str(tmp_path / "last.ckpt")}
    assert np.array_equal(Smp(**options).segments(image), expected)


def test_of_one_class_there_are_two_segments(network, tmp_path, image):
    expected = Smp(**saved(network, tmp_path)).segments(image)
    # A logit that is positive where the disc is more likely than the square.
    weights = network.state_dict()
    for name in ("segmentation_head.0.weight", "segmentation_head.0.bias"):
        weights[name] = weights[name][1:2] - weights[name][2:3]
    found = {}
    for activation in (None, "sigmoid"):
        single = made(classes=1, activation=activation)
        single.load_state_dict(weights)
        found[activation] = Smp(**saved(single, tmp_path)).segments(image)
    assert np.array_equal(np.unique(found[None]), [0, 1])
    assert np.all(found[None][expected == 1] == 1)
    assert np.all(found[None][expected == 2] == 0)
    assert np.array_equal(found["sigmoid"], found[None])  # a probability is never below 0


def saved(network: Any, tmp_path: Path) -> dict[str, Any]:
    """The options of the rule for a network, saved."""
    path = tmp_path / f"network-{len(list(tmp_path.iterdir()))}"
    network.save_pretrained(path)
    return {"model": str(path)}


def test_a_head_that_classifies_the_image_is_not_asked(network, tmp_path, image):
    with_head = made(aux_params={"classes": 2})
    with_head.load_state_dict({**with_head.state_dict(), **network.state_dict()})
    found = Smp(**saved(with_head, tmp_path)).segments(image)
    assert np.array_equal(found, Smp(**saved(network, tmp_path)).segments(image))


def test_labels_are_made_as_large_as_the_image(tmp_path, image):
    weights = made("fpn").state_dict()
    found = []
    for upsampling in (1, 4):
        network = made("fpn", upsampling=upsampling)
        network.load_state_dict(weights)
        found.append(Smp(**saved(network, tmp_path)).segments(image))
    assert np.array_equal(found[0], found[1])


def test_any_architecture_takes_any_size(tmp_path):
    for architecture, encoder in [
        ("unet", ENCODER),
        ("deeplabv3plus", ENCODER),
        ("pspnet", ENCODER),
        ("pan", ENCODER),
        ("dpt", "tu-test_vit"),
    ]:
        torch.save(made(architecture, encoder).state_dict(), tmp_path / "network.pt")
        rule = Smp(architecture=architecture, encoder=encoder, classes=3, checkpoint="network.pt", regions=None)
        for shape in ((1, 1), (1, 40), (33, 5), (70, 70)):
            assert rule(torch.rand(*shape, 3)).shape == shape


def test_a_vision_transformer_takes_any_size(tmp_path):
    options = saved(made("dpt", "tu-test_vit"), tmp_path)
    assert Smp(**options).segments(np.zeros((50, 170, 3), np.float32)).shape == (50, 170)


def test_the_image_goes_on_as_it_ends(folder, image, seen):
    Smp(model=str(folder), preprocessing="none").segments(image)
    pixels = seen[0][0].permute(1, 2, 0).numpy()
    assert pixels.shape == (64, 96, 3)
    assert np.array_equal(pixels[:45, :70], image)
    assert (pixels[45:, :70] == image[-1]).all()
    assert (pixels[:45, 70:] == image[:, -1:]).all()


@pytest.mark.parametrize(
    ("encoder", "choice", "mean", "std"),
    [
        (ENCODER, "encoder", MEAN, STD),
        (ENCODER, "imagenet", MEAN, STD),
        (ENCODER, "inception", 0.5, 0.5),
        (ENCODER, "none", 0, 1),
        ("tu-test_resnet", "encoder", 0.5, 0.5),
        ("tu-test_resnet", "imagenet", MEAN, STD),
        ("tu-lcnet_035", "encoder", 0, 1),
        ("xception", "encoder", 0.5, 0.5),
        ("dpn68", "encoder", np.array([124, 117, 104]) / 255, 1 / 0.0167 / 255),
    ],
)
def test_the_image_is_normalised_as_the_encoder_knows_it(tmp_path, image, seen, encoder, choice, mean, std):
    options = saved(made(encoder=encoder), tmp_path)
    Smp(**options, preprocessing=choice).segments(image)
    pixels = seen[0][0].permute(1, 2, 0).numpy()[:45, :70]
    np.testing.assert_allclose(pixels, (image - mean) / std, atol=1e-6)


def test_the_weights_an_encoder_began_with_have_their_own_numbers(tmp_path, image, seen):
    options = saved(made(encoder="efficientnet-b0"), tmp_path)
    file = Path(options["model"]) / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "encoder_weights": "advprop"}))
    Smp(**options).segments(image)
    np.testing.assert_allclose(seen[0][0].permute(1, 2, 0).numpy()[:45, :70], 2 * image - 1, atol=1e-6)


# -- how it behaves -----------------------------------------------------------------------------------------------


def test_it_is_deterministic_and_leaves_the_random_numbers_alone(checkpoint, folder, image):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = Smp(**checkpoint).segments(image)
    assert np.array_equal(Smp(model=str(folder)).segments(image), Smp(**checkpoint).segments(image))
    assert np.array_equal(Smp(**checkpoint).segments(image), first)
    assert torch.equal(torch.get_rng_state(), before)


def test_it_says_nothing(tmp_path, image, capfd):
    # A name that SMP warns of; and the hub's client prints where it has the weights from.
    with pytest.warns(DeprecationWarning, match="`timm-` encoders"):
        options = saved(made(encoder="timm-skresnet18"), tmp_path)
    Smp(**options).segments(image)
    assert capfd.readouterr() == ("", "")


def test_its_mark_is_that_of_the_weights(network, tmp_path):
    rule = Smp(**saved(network, tmp_path))
    options = saved(network, tmp_path)
    moved = Smp(**options)
    mark = rule.fingerprint()
    assert json.loads(json.dumps(mark)) == mark
    assert mark["smp"] == library().__version__
    assert moved.fingerprint() == mark
    assert Smp(model=rule.model, regions=4).fingerprint() != mark
    assert Smp(model=rule.model, preprocessing="none").fingerprint() != mark
    for name in ("config.json", "model.safetensors"):
        file = Path(options["model"]) / name
        before = file.read_bytes()
        file.write_bytes(before[:-1] + b"\x01")
        assert moved.fingerprint() != mark
        file.write_bytes(before)
    assert moved.fingerprint() == mark


def test_other_weights_in_the_same_place_are_taken(network, tmp_path, image):
    torch.save(network.state_dict(), tmp_path / "network.pt")
    rule = Smp(architecture="linknet", encoder=ENCODER, classes=3, checkpoint="network.pt")
    mark, found = rule.fingerprint(), rule.segments(image)
    weights = network.state_dict()
    for name in ("segmentation_head.0.weight", "segmentation_head.0.bias"):
        weights[name] = weights[name].roll(1, dims=0)
    torch.save(weights, tmp_path / "network.pt")
    assert rule.fingerprint() != mark
    assert np.array_equal(rule.segments(image), (found + 1) % 3)


def test_a_label_map_is_made_once(folder, image, seen, tmp_path):
    cache, rule = LabelCache(tmp_path / "cache"), Smp(model=str(folder), regions=3)
    first = make(rule, signal(image), cache=cache)
    assert torch.equal(make(rule, signal(image), cache=cache).labels, first.labels)
    assert len(seen) == 1


# -- what it cannot do --------------------------------------------------------------------------------------------


def test_options_are_refused_before_anything_is_loaded(monkeypatch):
    Path("file").touch()
    Path("half").mkdir()
    Path("half/config.json").write_text("{}")
    monkeypatch.setattr(torch, "load", None)
    monkeypatch.setattr(library(), "from_pretrained", None)
    for options, said in cases(
        ({}, r"has no network; give partition.model=FOLDER or OWNER/NAME, or partition.architecture"),
        ({"model": "a/b", "classes": 3}, r"partition.model excludes partition.classes; give one"),
        ({"model": "a/b", "checkpoint": "x"}, r"partition.model excludes partition.checkpoint; give one"),
        ({"architecture": "unet"}, r"partition.encoder is missing; give "),
        ({"architecture": "unet", "encoder": "resnet18", "classes": 2}, r"partition.checkpoint is missing; give "),
        ({"encoder": "resnet18", "classes": 2, "checkpoint": "x"}, r"partition.architecture is missing; give "),
        ({"model": "nothing"}, r"partition.model=nothing does not exist; give a folder with config.json and "),
        ({"model": "./no/thing"}, r"partition.model=./no/thing does not exist; give "),
        ({"model": ""}, r"partition.model= has no config.json; give a folder"),
        ({"model": "file"}, r"partition.model=file is a file; give its folder, or a state dict with"),
        ({"model": "half"}, r"partition.model=half has no model.safetensors; give a folder"),
        ({"model": "a/b", "max_pixels": 1}, r"max_pixels=1: should be"),
        ({"model": "a/b", "preprocessing": "caffe"}, r"preprocessing='caffe': should be 'encoder'"),
        ({"classes": 0}, r"classes=0: should be"),
    ):
        with pytest.raises(PartinrError, match=said) as refused:
            Smp(**options)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("checkpoint_file", "said"), [("nothing.pt", "does not exist; give"), (".", "is a folder; give")]
)
def test_a_checkpoint_that_is_no_file_is_refused(checkpoint, checkpoint_file, said):
    with pytest.raises(PartinrError, match=f"partition.checkpoint={checkpoint_file} {said} a file"):
        Smp(**{**checkpoint, "checkpoint": checkpoint_file})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"architecture": "lincnet"}, r"no architecture 'lincnet'; did you mean linknet\?"),
        ({"architecture": "?"}, r"no architecture '\?'; there are unet, "),
        ({"encoder": "mobilnet_v2"}, r"no encoder 'mobilnet_v2'; did you mean mobilenet_v2\?"),
        ({"encoder": "tu-nonesuch"}, r"no linknet with the encoder tu-nonesuch: .*; choose another"),
        ({"architecture": "dpt"}, r"no dpt with the encoder mobilenet_v2: ValueError: Only Timm .*; choose another"),
        (
            {"classes": 4},
            r"does not fit linknet with mobilenet_v2 and 4 classes: RuntimeError: size mismatch .*; correct",
        ),
        ({"architecture": "fpn"}, r"does not fit fpn with .*: RuntimeError: Missing key.*; correct .* partition.model"),
        ({"checkpoint": "text.pt"}, r"partition.checkpoint=text.pt has no state dict .*; write one with torch.save"),
        ({"checkpoint": "list.pt"}, r"partition.checkpoint=list.pt has no state dict .*; write one"),
        ({"checkpoint": "other.pt"}, r"partition.checkpoint=other.pt has no state dict .*; write one"),
        ({"checkpoint": "pickle.pt"}, r"partition.checkpoint=pickle.pt has no state dict .*; write one"),
    ],
)
def test_a_network_that_cannot_be_made_is_refused(checkpoint, image, options, said):
    Path("text.pt").write_text("hello, I am no network")
    torch.save([1, 2], "list.pt")
    torch.save(torch.nn.Linear(2, 2).state_dict(), "other.pt")
    torch.save(torch.nn.Linear(2, 2), "pickle.pt")  # code, which is never run
    with pytest.raises(PartinrError, match=said) as refused:
        Smp(**{**checkpoint, **options}).segments(image)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("config.json", "{}", "KeyError: '_model_class'; give"),
        ("config.json", "]", "JSONDecodeError: .*; give"),
        ("config.json", '{"_model_class": "Unet"}', "RuntimeError: .*; give"),
        ("config.json", '{"_model_class": "create_model"}', "AttributeError: .*; give"),
        ("model.safetensors", "damaged", "SafetensorError: .*; give"),
    ],
)
def test_a_folder_that_cannot_be_read_is_refused(network, tmp_path, image, name, content, said):
    options = saved(network, tmp_path)
    Path(options["model"], name).write_text(content)
    with pytest.raises(PartinrError, match=f"is no network of .*, or it is damaged: {said} a folder") as refused:
        Smp(**options).segments(image)
    assert "\n" not in str(refused.value)


def test_a_network_for_other_channels_is_refused(tmp_path, image):
    with pytest.raises(PartinrError, match="takes images of 4 channels; give a network for RGB"):
        Smp(**saved(made(in_channels=4), tmp_path)).segments(image)


def test_an_image_the_network_cannot_take_is_refused(folder, image, monkeypatch):
    def refuse(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 20 GiB")

    monkeypatch.setattr(library().Linknet, "forward", refuse)
    with pytest.raises(PartinrError, match=r"fails on an image of 45×70: OutOfMemoryError: CUDA out of memory; give a"):
        Smp(model=str(folder)).segments(image)


# -- the hub ------------------------------------------------------------------------------------------------------


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Stands for the hub: ``hub(answer, download)``, each an exception to raise or what to return."""

    def stand(answer: Any, download: Any) -> None:
        def give(what: Any) -> Any:
            if isinstance(what, Exception):
                raise what
            return what

        monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *_, **__: give(answer))
        monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: give(download))

    return stand


def offline(rule: Smp, image: np.ndarray) -> str:
    for call in (lambda: rule.segments(image), rule.fingerprint):
        with pytest.raises(PartinrError) as refused:
            call()
    return str(refused.value)


def test_without_a_network_one_line_says_so_at_once(image, capfd):
    start = time.perf_counter()
    said = offline(Smp(model="no/such-model"), image)
    assert time.perf_counter() - start < 5
    assert said == (
        "partition.model=no/such-model is no folder here, and the Hugging Face hub does not give it "
        "(OfflineModeIsEnabled); check the name, or download it on a machine with a network (hf download "
        "no/such-model --local-dir FOLDER) and give that folder, with its config.json and model.safetensors"
    )
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "error",
    [OSError("x\ny"), RuntimeError(), TimeoutError("z"), ValueError("?"), json.JSONDecodeError("", "", 0)],
)
@pytest.mark.parametrize("late", [False, True])
def test_whatever_the_hub_raises(hub, image, error, late):
    hub(None if late else error, error)
    said = offline(Smp(model="no/such-model"), image)
    assert f"does not give it ({type(error).__name__}); check the name, or download it" in said
    assert "\n" not in said


def test_a_network_of_the_hub_is_that_of_its_folder(hub, folder, image):
    rule, local = Smp(model="some/shapes"), Smp(model=str(folder))
    hub(None, str(folder))
    assert np.array_equal(rule.segments(image), local.segments(image))
    assert rule.fingerprint() == local.fingerprint()


def test_a_network_that_was_downloaded_once_needs_no_hub(hub, folder, image):
    hub(ConnectionError(), str(folder))
    assert np.array_equal(Smp(model="other/shapes").segments(image), Smp(model=str(folder)).segments(image))


def test_a_network_of_another_library_is_refused(hub, folder, image, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    hub(None, str(tmp_path))
    said = offline(Smp(model="another/library"), image)
    assert "has no model.safetensors on the Hugging Face hub; choose a network that" in said

"""What a notebook gets: a bar that rewrites itself, cards of objects, and fits of what a user has at hand."""

from __future__ import annotations

import base64
import io
import re
import signal
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import partinr  # before Lightning, as docs/guides/python.md says

# isort: split
import lightning as L
import nbformat
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping
from matplotlib import pyplot as plt
from nbclient import NotebookClient
from PIL import Image

from partinr.backbones import Siren
from partinr.base.errors import PartinrError
from partinr.partition import Grid
from partinr.pictures.notebook import SIDE
from partinr.regimes import make_trainer

PIXELS = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
IMAGE = torch.from_numpy(PIXELS) / 255


def model_for(signal: torch.Tensor, **options: Any) -> partinr.PiecewiseINR:
    siren = Siren(hidden_features=4, hidden_layers=1)
    return partinr.PiecewiseINR(Grid(regions=4)(signal), siren, channels=signal.shape[-1], **options)


def fit(signal: Any, image: torch.Tensor = IMAGE, steps: int = 3, **options: Any) -> Any:
    return partinr.fit(model_for(image), signal, steps=steps, lr=1e-2, **options)


# -- fits -----------------------------------------------------------------------------------------------------------


def test_a_fit_takes_a_picture_file_or_an_array(tmp_path: Path) -> None:
    grey = PIXELS[..., 0]
    Image.fromarray(grey).save(tmp_path / "a.png")
    model = model_for(IMAGE[..., :1])
    first = partinr.fit(model, tmp_path / "a.png", steps=3, lr=1e-2)
    second = partinr.fit(model, grey, steps=3, lr=1e-2)
    assert second.curve[0]["psnr"] == first.psnr
    for given in (str(tmp_path / "a.png"), grey):
        assert torch.equal(Grid(regions=4)(given).labels, model.partition.labels)


@pytest.mark.parametrize(
    ("signal", "options", "said"),
    [
        ("nothing.png", {}, "no such file: 'nothing.png'"),
        (IMAGE, {"callbacks": [EarlyStopping]}, "callbacks[0] is the class EarlyStopping; give an object"),
        (IMAGE, {"callbacks": EarlyStopping("a")}, "callbacks[0] (EarlyStopping) cannot be used here: it monitors 'a'"),
        (IMAGE, {"callbacks": [L.Callback()], "trainer": make_trainer(accelerator="cpu")}, "exclude each other"),
    ],
)
def test_bad_input_is_one_line(signal: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(PartinrError) as caught:
        fit(signal, **options)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_model_and_a_signal_in_the_wrong_order() -> None:
    with pytest.raises(PartinrError, match="the model is of type Tensor; give a PiecewiseINR or Album"):
        partinr.fit(IMAGE, model_for(IMAGE))  # type: ignore[type-var, arg-type]


# -- callbacks and the bar ------------------------------------------------------------------------------------------


def test_a_callback_ends_a_fit() -> None:
    stop = EarlyStopping(monitor="psnr", mode="max", min_delta=1000, patience=1)
    result = fit(IMAGE, steps=200, callbacks=[stop])
    assert result.stop == "callback"
    assert result.steps < 200


class Interrupts(L.Callback):
    def on_train_batch_end(self, *_: Any) -> None:
        raise KeyboardInterrupt


def test_an_interrupt_is_an_interrupt_and_the_next_one_too() -> None:
    handler = signal.getsignal(signal.SIGINT)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            fit(IMAGE, callbacks=Interrupts())
        assert signal.getsignal(signal.SIGINT) is handler


@pytest.fixture
def outputs(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The outputs of a kernel that is none: for each, what it showed, one after the other."""
    found: list[list[str]] = []

    def display(bundle: dict[str, str], raw: bool, display_id: bool) -> Any:
        own = [bundle["text/plain"]]
        found.append(own)
        return SimpleNamespace(update=lambda new, raw: own.append(new["text/plain"]))

    for name in ("IPython", "IPython.display"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", lambda: SimpleNamespace(kernel=1), raising=False)
    monkeypatch.setattr(sys.modules["IPython.display"], "display", display, raising=False)
    return found


def test_the_bar_of_a_notebook_rewrites_one_output(
    outputs: list[list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("partinr.callbacks.progress._NotebookBar.EVERY", 0)
    result = fit(IMAGE, steps=20)
    (shown,) = outputs
    assert re.fullmatch(r"4 regions  ░{24}  step 0/20(  \S+ dB)?", shown[0])
    assert any(re.match(r"4 regions  █+░+  step \d+/20  \S+ dB  \S+ points/s  0:00 left", line) for line in shown)
    assert shown[-1] == f"4 regions  20 steps  {result.psnr:.2f} dB  {result.seconds:.1f} s"
    fit(IMAGE, progress=False)
    assert len(outputs) == 1
    assert capsys.readouterr() == ("", "")


@pytest.mark.slow
def test_a_fit_in_a_real_kernel_leaves_one_line() -> None:
    code = """
import partinr
image = partinr.builtin_image("astronaut", size=32)
partition = partinr.partition.Grid(regions=4)(image)
model = partinr.PiecewiseINR(partition, partinr.backbones.Siren(hidden_features=8))
result = partinr.fit(model, image, steps=None, seconds=2)
"""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(each) for each in (code, "model")])
    NotebookClient(notebook, kernel_name="python3", timeout=200).execute()
    (line,) = notebook.cells[0].outputs
    assert line.output_type == "display_data"
    assert re.fullmatch(r"4 regions  [\d,]+ steps  \S+ dB  2\.\d s", line.data["text/plain"])
    assert "<progress" not in line.data["text/html"]
    assert notebook.cells[1].outputs[0].data["text/html"].startswith("<div")


# -- cards and plots ------------------------------------------------------------------------------------------------


class Card(HTMLParser):
    """The words and images of a card, which needs nothing from elsewhere and has every element closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words, self.images, self._open = "", list[Image.Image](), list[str]()
        self.feed(html)
        assert not self._open
        assert len(html) < 200_000
        assert "http" not in html
        assert "<script" not in html

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            kind, _, data = str(dict(attrs)["src"]).partition(";base64,")
            assert kind.startswith("data:image/")
            self.images.append(Image.open(io.BytesIO(base64.b64decode(data))))
        else:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += f" {data}"


@pytest.mark.parametrize("grid", [(40,), (300, 8), (5, 6, 7)])
def test_cards_and_plots_of_signals_on_any_grid(grid: tuple[int, ...]) -> None:
    labels = torch.randint(4, grid, generator=torch.Generator().manual_seed(0))
    model = partinr.PiecewiseINR(partinr.Partition(labels), Siren(hidden_features=4), channels=2)
    for thing, words, images in ((model.partition, "regions 4", 1), (model, "parameters", 2)):
        card = Card(thing._repr_html_())
        assert words in card.words
        assert len(card.images) == images
        assert all(max(image.size) <= SIDE for image in card.images)
        assert thing.plot() is plt.gca()
    plt.close("all")


def test_a_card_says_what_a_name_is(tmp_path: Path) -> None:
    album = partinr.Album({"<b>&": model_for(IMAGE), "b": model_for(IMAGE[:6])})
    result = partinr.fit(album, [IMAGE, IMAGE[:6]], steps=2)
    for card in (Card(album._repr_html_()), Card(result._repr_html_())):
        assert " <b>& " in card.words
    _, (left, ax) = plt.subplots(1, 2)
    assert result.plot("loss", "macs", ax=left, label="a") is left
    assert album.plot(ax=ax, title="$") is ax
    assert album.partitions[0].plot(PIXELS, ax=ax) is ax
    plt.close("all")
    with pytest.raises(PartinrError, match="metric='pnsr' is unknown; choose from psnr"):
        result.plot("pnsr")
    with pytest.raises(PartinrError, match="give the image that the partition was made of"):
        album.partitions[0].plot(IMAGE[:6])

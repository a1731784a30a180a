"""Several images as one stack: each has the networks that it would have alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import partinr
from partinr.api import fit
from partinr.backbones import Backbone, ReluPE, Siren
from partinr.base.errors import PartinrError
from partinr.model.album import Album
from partinr.model.inr import PiecewiseINR
from partinr.partition import Grid, Partition
from partinr.regimes import FitResult, FitSettings, Optimizer, make_trainer
from partinr.regimes.fit.module import FitModule
from partinr.runs.layout import CLOCK_COLUMNS

TINY = Siren(match_params=500, hidden_layers=1, first_omega_0=8.0)

Member = Callable[..., PiecewiseINR]


@pytest.fixture(scope="module")
def images() -> dict[str, Tensor]:
    """Three noisy images, of two sizes."""
    generator = torch.Generator().manual_seed(0)
    shapes = {"square": (12, 12), "wide": (11, 17), "another": (12, 12)}
    return {
        name: 0.2 + 0.2 * number + 0.3 * torch.rand(*shape, 3, generator=generator)
        for number, (name, shape) in enumerate(shapes.items())
    }


REGIONS = {"square": 4, "wide": 3, "another": 4}


def member(image: Tensor, regions: int, backbone: Backbone = TINY, **options: Any) -> PiecewiseINR:
    return PiecewiseINR(Grid(regions=regions)(image), backbone, channels=image.shape[-1], **options)


@pytest.fixture
def members(images: dict[str, Tensor]) -> dict[str, PiecewiseINR]:
    """Fewer regions are wider networks; one image has networks of two widths."""
    made = {name: member(image, REGIONS[name], seed=5) for name, image in images.items()}
    made["another"] = member(images["another"], 4, widths=(6, 4, 6, 9), seed=5)
    return made


def same_weights(one: PiecewiseINR, other: PiecewiseINR) -> None:
    assert one.architecture() == other.architecture()
    assert set(one.stack) == set(other.stack)
    for name, value in one.stack.items():
        assert torch.equal(value, other.stack[name]), name


# -- what it is ---------------------------------------------------------------------------------------------------


def test_what_goes_in_comes_out(members: dict[str, PiecewiseINR]) -> None:
    album = Album(members)
    assert album.names == ("square", "wide", "another")
    assert album.networks == 11
    assert album.parameter_count == sum(album.parameter_counts)
    for number, (name, wanted) in enumerate(members.items()):
        got = album.member(number)
        same_weights(got, wanted)
        assert album.parameter_counts[number] == wanted.parameter_count
        assert torch.equal(got.render(), wanted.render()), name


def test_it_says_what_it_is_in_a_line(members: dict[str, PiecewiseINR]) -> None:
    widths = sorted({own.backbone.hidden_features or 0 for own in (members["square"], members["wide"])} | {4, 6, 9})
    count = sum(own.parameter_count for own in members.values())
    said = f"3 images, 11 regions, siren, widths {widths[0]} to {widths[-1]}, {count:,} parameters"
    assert repr(Album(members)) == f"Album({said})"


def test_a_member_is_a_copy(members: dict[str, PiecewiseINR]) -> None:
    album = Album(members)
    before = {name: value.detach().clone() for name, value in album.stack.items()}
    for value in album.member(1).stack.values():
        value.data.zero_()
    assert all(torch.equal(value, before[name]) for name, value in album.stack.items())


@pytest.mark.parametrize("frame", ["global", "local"])
def test_stacked_equals_separate(images: dict[str, Tensor], frame: Any) -> None:
    made = {name: member(image, REGIONS[name], frame=frame, engine="loop") for name, image in images.items()}
    album = Album(made)
    batch = album.batch(list(images.values()))
    values = batch.unsort(album(batch.coords, batch.sizes))
    start = 0
    for name, image in images.items():
        own = made[name].batch(image)
        expected = own.unsort(made[name](own.coords, own.sizes))
        torch.testing.assert_close(values[start : start + len(expected)], expected)
        start += len(expected)
    assert torch.equal(batch.unsort(batch.targets), torch.cat([image.reshape(-1, 3) for image in images.values()]))


def test_the_work_is_that_of_all(members: dict[str, PiecewiseINR]) -> None:
    album = Album(members)
    samples = [model.partition.labels.numel() for model in members.values()]
    total = sum(count * model.macs_per_sample for count, model in zip(samples, members.values(), strict=True))
    assert album.macs_per_sample == pytest.approx(total / sum(samples), rel=0.01)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (
            lambda: member(torch.rand(5, 5, 1), 2),
            r"odd has another number of channels \(1\) than square \(3\); .*leave one of them out",
        ),
        (
            lambda: member(torch.rand(9, 3), 2),
            r"odd has another number of axes \(1\) than square \(2\); fit them apart",
        ),
        (lambda: member(torch.rand(5, 5, 3), 2, ReluPE(hidden_features=6)), "odd and square differ in more than"),
        (lambda: member(torch.rand(5, 5, 3), 2, frame="local"), "odd and square differ in more than"),
    ],
)
def test_what_cannot_be_one_stack_is_refused(
    members: dict[str, PiecewiseINR], other: Callable[[], PiecewiseINR], said: str
) -> None:
    with pytest.raises(PartinrError, match=said):
        Album({**members, "odd": other()})


def test_an_album_of_nothing_is_refused() -> None:
    with pytest.raises(PartinrError, match="there is no image"):
        Album({})


def test_signals_that_are_not_the_albums_are_refused(
    members: dict[str, PiecewiseINR], images: dict[str, Tensor]
) -> None:
    album, signals = Album(members), list(images.values())
    with pytest.raises(PartinrError, match="2 signals for a model of 3"):
        fit(album, signals[:2])
    with pytest.raises(
        PartinrError, match=r"square: the signal lies on a grid of \[11, 17\], the partition on one of \[12, 12\]"
    ):
        fit(album, [signals[1], signals[0], signals[2]])
    with pytest.raises(PartinrError, match=r"wide: the signal has values from .*, but must stay in \[0, 1\]"):
        fit(album, [signals[0], 2 * signals[1] + 1, signals[2]])


# -- what it learns -----------------------------------------------------------------------------------------------


def go(model: Any, signal: Any, **options: Any) -> FitResult[Any]:
    settings = {"evaluate_every": 5, **options.pop("settings", {})}
    trainer = make_trainer(accelerator="cpu", callbacks=options.pop("callbacks", ()))
    options = {"steps": 30, "lr": 5e-3, **options}
    return fit(model, signal, settings=FitSettings(**settings), trainer=trainer, **options)


def of_image(result: FitResult[Any], name: str) -> list[dict[str, Any]]:
    return [row for row in result.image_curve if row["image"] == name]


SETUPS: dict[str, dict[str, Any]] = {
    "adam": {},
    # The learning rate of plain descent is not forgiving: the loss of an image must be what it is alone.
    "sgd": {"optimizer": Optimizer(name="sgd", lr=0.02, options={"momentum": 0.9})},
    "by region": {
        "optimizer": Optimizer(name="sgd", lr=0.02),
        "settings": {"loss": "region"},
    },
    "frozen": {"settings": {"freeze_at_psnr": 20.0}},
}


@pytest.mark.parametrize("setup", SETUPS.values(), ids=SETUPS)
def test_an_album_equals_separate_runs(
    members: dict[str, PiecewiseINR], images: dict[str, Tensor], setup: dict[str, Any]
) -> None:
    whole = go(Album(members), list(images.values()), **setup)
    alone = {name: go(model, images[name], **setup) for name, model in members.items()}
    assert whole.steps == 30
    for number, (name, result) in enumerate(alone.items()):
        for row, expected in zip(of_image(whole, name), result.curve, strict=False):
            assert row["step"] == expected["step"]
            assert row["psnr"] == pytest.approx(expected["psnr"], rel=1e-4)
            assert row["ssim"] == pytest.approx(expected["ssim"], rel=1e-3)
        trained = whole.model.member(number)
        for parameter, value in result.model.stack.items():
            torch.testing.assert_close(trained.stack[parameter], value, rtol=1e-3, atol=1e-4)
    for number, row in enumerate(whole.curve):
        rows = [result.curve[number] for result in alone.values() if number < len(result.curve)]
        if len(rows) == len(alone):
            for column in ("loss", "psnr", "ssim"):
                assert row[column] == pytest.approx(sum(each[column] for each in rows) / 3, rel=1e-3), column


def test_an_album_of_one_is_the_image(images: dict[str, Tensor]) -> None:
    image = images["wide"]
    one = go(Album({"wide": member(image, 3, engine="loop")}), [image])
    alone = go(member(image, 3, engine="loop"), image)
    assert alone.image_curve == []
    for row, expected in zip(one.curve, alone.curve, strict=True):
        for column in {*row} - {*CLOCK_COLUMNS}:
            assert row[column] == pytest.approx(expected[column], rel=1e-5), column
    same_rows = zip(one.curve, one.image_curve, strict=True)
    assert all(row["psnr"] == own["psnr"] and own["image"] == "wide" for row, own in same_rows)


def test_psnr_is_the_mean_over_images_and_never_pooled() -> None:
    light, grey = torch.full((11, 11, 1), 0.9), torch.full((30, 30, 1), 0.5)
    members = {"light": member(light, 1), "grey": member(grey, 1)}
    result = go(Album(members), [light, grey], steps=1)
    rows = result.image_curve[:2]
    assert abs(rows[0]["psnr"] - rows[1]["psnr"]) > 1
    assert result.curve[0]["psnr"] == (rows[0]["psnr"] + rows[1]["psnr"]) / 2
    stopped = go(Album(members), [light, grey], steps=9, target_psnr=result.curve[0]["psnr"] - 0.5)
    assert (stopped.stop, stopped.steps) == ("target_psnr", 0)


def test_an_image_that_is_met_exactly_hides_no_other() -> None:
    black, grey = torch.zeros(11, 11, 1), torch.full((30, 30, 1), 0.5)
    backbone = Siren(hidden_features=2, hidden_layers=0)
    members = {"black": member(black, 1, backbone), "grey": member(grey, 1, backbone)}
    for value in members["black"].stack.values():
        value.data.zero_()
    result = go(Album(members), [black, grey], steps=1)
    exact, other = result.image_curve[0]["psnr"], result.image_curve[1]["psnr"]
    assert exact == math.inf
    assert result.curve[0]["psnr"] == (100 + other) / 2


def test_points_are_drawn_over_the_whole_album(members: dict[str, PiecewiseINR], images: dict[str, Tensor]) -> None:
    samples = sum(image.shape[:-1].numel() for image in images.values())
    with pytest.raises(PartinrError, match=f"is more than the {samples} samples"):
        go(Album(members), list(images.values()), settings={"points_per_step": samples + 1})
    drawn = go(Album(members), list(images.values()), settings={"points_per_step": samples // 5}, steps=50)
    assert drawn.curve[-1]["macs"] == 50 * (samples // 5) * drawn.model.macs_per_sample
    assert all(of_image(drawn, name)[-1]["psnr"] > of_image(drawn, name)[0]["psnr"] + 1 for name in images)


@pytest.mark.parametrize("settings", [{}, {"points_per_step": 40, "freeze_at_psnr": 17.0}])
def test_resumed_equals_unbroken(
    members: dict[str, PiecewiseINR],
    images: dict[str, Tensor],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, Any],
) -> None:
    import lightning as L

    monkeypatch.setattr("partinr.training.loop.CHUNK_SECONDS", 0.0)

    class SaveAt(L.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            if pl_module.step == 12:
                trainer.save_checkpoint(tmp_path / "last.ckpt")

    unbroken = go(Album(members), list(images.values()), settings=settings, callbacks=(SaveAt(),))
    resumed = go(Album(members), list(images.values()), settings=settings, ckpt_path=tmp_path / "last.ckpt")

    def plain(rows: list[dict[str, Any]]) -> list[dict[str, str]]:
        return [{name: repr(value) for name, value in row.items() if name not in CLOCK_COLUMNS} for row in rows]

    assert plain(resumed.curve) == plain(unbroken.curve)
    assert plain(resumed.image_curve) == plain(unbroken.image_curve)
    for name, value in unbroken.model.stack.items():
        assert torch.equal(value, resumed.model.stack[name])
    fewer = {name: images[name] for name in ("square", "another")}
    less = Album({name: members[name] for name in fewer})
    with pytest.raises(PartinrError, match=r"its images is .*wide.*, here it is .*; give the settings of that run"):
        go(less, list(fewer.values()), settings=settings, ckpt_path=tmp_path / "last.ckpt")


# -- what it says of itself ---------------------------------------------------------------------------------------


def module(model: Any, signal: Any) -> FitModule:
    from partinr.regimes import Constant, StopRule

    return FitModule(
        model, signal, optimizer=Optimizer(), schedule=Constant(), stop=StopRule(max_steps=1), settings=FitSettings()
    )


def test_facts_and_views(members: dict[str, PiecewiseINR], images: dict[str, Tensor]) -> None:
    whole = module(Album(members), list(images.values()))
    assert whole.title == "3 images, 11 regions"
    assert [view.name for view in whole.views] == list(images)
    for view, drawn, (name, image) in zip(whole.views, whole.reconstructions(), images.items(), strict=True):
        assert torch.equal(view.signal, image)
        assert view.partition is members[name].partition
        torch.testing.assert_close(drawn.clamp(0, 1), members[name].render())
    facts = whole.facts()
    assert facts["regions"] == 11
    assert facts["signal"]["images"] == 3
    assert facts["signal"]["shape"] is None
    assert facts["images"]["wide"] == {
        "shape": [11, 17, 3],
        "regions": 3,
        "parameters": members["wide"].parameter_count,
        "psnr": None,
        "ssim": None,
    }
    single = module(members["wide"], images["wide"])
    assert (single.title, single.views[0].name) == ("3 regions", "")
    assert "images" not in single.facts()
    assert single.facts()["signal"]["shape"] == [11, 17, 3]


def test_notices_name_an_image(images: dict[str, Tensor]) -> None:
    image = images["square"]
    labels = torch.zeros(12, 12, dtype=torch.int64)
    members = {
        "one": PiecewiseINR(Partition(labels), TINY),
        "two": PiecewiseINR(Partition(labels, notice="fewer regions"), TINY),
        "three": PiecewiseINR(Partition(labels, notice="fewer regions"), TINY),
    }
    facts = module(Album(members), [image] * 3).facts()
    assert facts["partition"]["notice"] == "two: fewer regions (and 1 more like it)"
    assert module(members["two"], image).facts()["partition"]["notice"] == "fewer regions"


def test_the_weights_of_each_image_are_a_model(
    members: dict[str, PiecewiseINR], images: dict[str, Tensor], tmp_path: Path
) -> None:
    for name, content in module(Album(members), list(images.values())).weights():
        assert name is not None
        (tmp_path / f"{name}.safetensors").write_bytes(content)
        same_weights(partinr.load(tmp_path / f"{name}.safetensors"), members[name])

"""Bits and what is left for them."""

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image

from partinr.backbones import Siren
from partinr.metrics.quality import psnr
from partinr.metrics.rate import QUALITIES, Rate, at_rate, best_of, codec_rates, mean_rates
from partinr.model.fit_rates import fit_rates
from partinr.model.inr import PiecewiseINR
from partinr.partition import Grid, Partition
from partinr.pictures.draw import to_uint8

ROWS, COLUMNS = np.mgrid[:40, :56] / 56
IMAGE = np.stack([0.5 + 0.4 * np.sin(9 * ROWS * COLUMNS), COLUMNS, (12 * ROWS % 1) * 0.5], axis=-1)
PIXELS = to_uint8(IMAGE)
MODEL = PiecewiseINR(Grid(rows=2, cols=2)(torch.zeros(40, 56, 3)), Siren(hidden_features=10, hidden_layers=1))


def test_a_fit_takes_its_weights_its_scales_and_its_label_map():
    for free in (True, False):
        rates = {rate.setting: (rate, file) for rate, file in fit_rates(MODEL, MODEL.render(), free)}
        assert list(rates) == ["float32", "int16 channel", "int16 tensor", "int8 channel", "int8 tensor"]
        for setting, (rate, file) in rates.items():
            if setting.startswith("int8"):
                assert 8 * MODEL.parameter_count < rate.weight_bits < 16 * MODEL.parameter_count
            else:
                assert rate.weight_bits == (32 if setting == "float32" else 16) * MODEL.parameter_count
            assert rate.label_bits == (0 if free else Partition(MODEL.partition.labels).bits)
            assert rate.bits == rate.weight_bits + rate.scale_bits + rate.label_bits
            assert rate.bpp == rate.bits / (40 * 56)
            assert rate.file_bytes == len(file)
            assert 8 * rate.file_bytes > rate.bits
            assert rate.deflated_bytes < rate.file_bytes
        assert rates["float32"][0].psnr == math.inf
        assert rates["float32"][0].scale_bits == 0
        assert rates["int8 channel"][0].scale_bits > rates["int8 tensor"][0].scale_bits > 0
        assert rates["int16 channel"][0].psnr > rates["int8 channel"][0].psnr > 20


def test_codecs_take_what_their_files_take():
    rates = codec_rates(PIXELS)
    assert [(rate.coder, rate.setting) for rate in rates] == [
        (coder, str(quality)) for coder in ("jpeg", "webp") for quality in QUALITIES
    ]
    for coder, extra in (("jpeg", {"optimize": True}), ("webp", {"method": 6})):
        own = [rate for rate in rates if rate.coder == coder]
        buffer = io.BytesIO()
        Image.fromarray(to_uint8(IMAGE)).save(buffer, coder, quality=45, **extra)
        rate = next(rate for rate in own if rate.setting == "45")
        assert rate.bits == 8 * rate.file_bytes == 8 * buffer.tell()
        with Image.open(buffer) as picture:
            back, wanted = (
                torch.from_numpy(np.array(each)).float() / 255 for each in (picture.convert("RGB"), to_uint8(IMAGE))
            )
        assert rate.psnr == pytest.approx(psnr(back, wanted))
        assert own[-1].psnr > own[5].psnr > own[0].psnr
        assert own[-1].bpp > own[0].bpp


def test_grey_images_have_rates_too():
    rates = codec_rates(PIXELS[:, :, :1])
    assert all(math.isfinite(rate.psnr) or rate.psnr > 0 for rate in rates)
    assert max(rate.psnr for rate in rates) > 30


def test_between_two_qualities_the_psnr_is_linear_in_the_logarithm_of_the_bits():
    def rate(size, quality):
        return Rate("jpeg", "1", 0, 0, 0, size, size, 8, quality)

    rates = [rate(400, 40.0), rate(100, 30.0), rate(1600, 44.0)]
    assert at_rate(rates, 200) == pytest.approx(35)
    assert at_rate(rates, 800) == pytest.approx(42)
    assert at_rate(rates, 100) == 30
    assert at_rate(rates, 99) is None
    assert at_rate(rates, 1601) is None
    assert at_rate([], 100) is None


def test_every_image_counts_the_same_in_a_mean():
    small, large = codec_rates(PIXELS[:20, :30]), codec_rates(PIXELS)
    means = mean_rates([small, large])
    assert [(mean.coder, mean.setting) for mean in means] == [(rate.coder, rate.setting) for rate in large]
    for mean, one, other in zip(means, small, large, strict=True):
        assert one.pixels < other.pixels
        assert mean.bpp == pytest.approx((one.bpp + other.bpp) / 2)
        assert mean.psnr == pytest.approx((one.psnr + other.psnr) / 2)
        assert mean.per_pixel(lambda rate: 8 * rate.file_bytes) == pytest.approx(mean.bpp)
    assert best_of(means).setting == best_of(large).setting
    assert [(mean.bpp, mean.psnr) for mean in mean_rates([large])] == [(rate.bpp, rate.psnr) for rate in large]


def test_parts_of_the_mean_bits_are_all_of_them():
    rates = [[rate for rate, _ in fit_rates(MODEL, MODEL.render(), free)] for free in (True, False)]
    for mean in mean_rates(rates):
        parts = [
            mean.per_pixel(part) for part in (lambda r: r.weight_bits, lambda r: r.scale_bits, lambda r: r.label_bits)
        ]
        assert sum(parts) == pytest.approx(mean.bpp)
        assert parts[-1] == pytest.approx(Partition(MODEL.partition.labels).bits / (40 * 56) / 2)
    # A fit that is its image does not hide what the others are.
    assert next(mean.psnr for mean in mean_rates(rates)) == 100


def test_there_is_no_mean_where_an_image_has_none():
    large, small = codec_rates(np.zeros((1, 16_384, 1), dtype=np.uint8)), codec_rates(PIXELS)
    assert {rate.coder for rate in large} == {"jpeg"}
    assert (
        {mean.coder for mean in mean_rates([small, large])}
        == {mean.coder for mean in mean_rates([large, small])}
        == {"jpeg"}
    )

"""Methods compared over several sizes in the table against one of them."""

import csv
import io

import pytest

from partinr.base.errors import PartinrError
from partinr.report import Layout, collect
from partinr.report.export import table_text
from partinr.runs.directory import RunDirectory

SIZES = {10_000: 25.0, 20_000: 28.0, 40_000: 30.0}


@pytest.fixture(scope="module")
def study(write_run, tmp_path_factory):
    """One network in three sizes, and a grid that needs 10 % fewer parameters, on two signals."""
    folder = tmp_path_factory.mktemp("budgets")
    for image, more in (("a", 0.0), ("b", 2.0)):
        for size, psnr in SIZES.items():
            for regions, factor in ((1, 1.0), (4, 0.9)):
                bits = {"fit": 8 * factor, "jpeg": 1.0}
                rates = [
                    {
                        **{"step": 10, "coder": coder, "setting": "int8", "bits": 1, "bpp": size * of, "psnr": psnr},
                        **dict.fromkeys(("weight_bits", "scale_bits", "label_bits", "file_bytes", "deflated_bytes"), 0),
                    }
                    for coder, of in bits.items()
                ]
                facts = {"parameters": round(factor * size), "metrics": {"psnr": psnr + more}, "steps": 10}
                settings = {"backbone.match_params": size, "backbone.hidden_features": None}
                how = {"image": image, "regions": regions, "facts": facts, "settings": settings, "pictures": None}
                row = {"step": 10, "seconds": 1.0, "cpu_seconds": 1.0, "macs": 1, "loss": 0.1, "ssim": 0.9, "lr": 0.1}
                path = write_run(folder / f"{image}-{size}-{regions}", **how, rows=[{**row, "psnr": psnr + more}])
                RunDirectory(path).write_rate(rates)
    return collect([folder])


def test_a_tenth_fewer_parameters_is_minus_ten_percent(study):
    rows = list(csv.DictReader(io.StringIO(table_text(study, "csv", layout=Layout(against="no partition")))))
    assert [(row["group"], row["rate"], row["signals"]) for row in rows] == [
        ("2×2 grid", "parameters", "2"),
        ("2×2 grid", "bits", "2"),
    ]
    assert [float(row["bd_rate"]) for row in rows] == pytest.approx([-10, -10])
    text = table_text(study, "text", layout=Layout(against="no partition"))
    assert "2/2" in text
    assert "-10.00" in text
    assert "Reference: no partition, over its sizes" in text


def test_the_sizes_follow_below_a_comparison_with_one_group(study):
    text = table_text(study, "md", layout=Layout(against="none · params 20k"))
    assert text.index("Reference: no partition · params 20k") < text.index("BD-rate %")


def test_methods_that_share_no_psnr_are_refused(write_run, tmp_path):
    for size, psnr in SIZES.items():
        for regions, more in ((1, 0.0), (4, 20.0)):
            settings = {"backbone.match_params": size, "backbone.hidden_features": None}
            facts = {"parameters": size, "metrics": {"psnr": psnr + more}}
            write_run(tmp_path / f"{size}-{regions}", regions=regions, facts=facts, settings=settings, pictures=None)
    with pytest.raises(PartinrError, match=r"share no PSNR .*; give runs of sizes in between"):
        table_text(collect([tmp_path]), "text", layout=Layout(against="none"))

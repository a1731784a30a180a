"""``partinr import``: the numbers of other programs as runs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from partinr.runs.foreign import NAMES
from tests.read_back import manifest, rows

CURVE = "_step,_runtime,test/psnr,gaussians\n0,0,4,5\n10,1.5,4.5,6\n20,3,9,7\n"


@pytest.fixture
def curve(tmp_path: Path) -> Path:
    """A CSV file with a curve, in the words of W&B and Lightning."""
    path = tmp_path / "curve.csv"
    path.write_text(CURVE)
    return path


def test_a_curve_stands_beside_a_run(partinr: Any, finished: Path, curve: Path) -> None:
    picture = finished / "reconstruction.png"
    asked = ["--name", "GaussianImage", "--parameters", "500", "--hardware", "some GPU", "--signal", finished]
    answer = partinr("import", curve, *asked, "--reconstruction", picture)
    assert answer.code == 0, answer.err
    run = Path("outputs/imported/GaussianImage_astronaut_500")
    assert answer.out.split()[:2] == ["imported", str(run)]
    found, own = manifest(run), manifest(finished)
    assert found["metrics"]["psnr"] == 9
    # Of 8-bit pictures.
    assert found["metrics"]["measured"]["psnr"] == pytest.approx(own["metrics"]["psnr"], abs=0.05)
    assert "the file ends at 9.00 dB, and the reconstruction has" in answer.err
    assert found["imported"]["file"] == "curve.csv"
    assert found["hardware"] == {"cpu": "some GPU"}
    assert [(row["step"], row["seconds"], row["gaussians"], row["macs"]) for row in rows(run)] == [
        ("0", "0.0", "5.0", "nan"),
        ("10", "1.5", "6.0", "nan"),
        ("20", "3.0", "7.0", "nan"),
    ]

    both = [finished, run]
    assert "GaussianImage" in partinr("runs", *both).out
    table = partinr("table", *both, "--format", "csv").out
    assert table.splitlines()[2].startswith("astronaut,GaussianImage,")
    assert "compare their steps, not their seconds" in " ".join(partinr("table", *both).out.split())
    against = partinr("table", *both, "--against", "GaussianImage", "--format", "md").out
    assert f"| 2×2 grid | 1 | {own['metrics']['psnr'] - 9:+.2f} |" in against
    compared = partinr("compare", *both).out
    assert "GaussianImage" in compared
    assert "optimizer.lr" not in compared
    answer = partinr("report", *both, "-o", "report.html", "--figures", "figures", "--format", "png")
    assert answer.code == 0, answer.err
    page = Path("report.html").read_text()
    assert "this picture" in page
    assert "seed None" not in page
    for command in (["render", "-o", "x.png"], ["view"], ["export"], ["resume"], ["rerun"]):
        answer = partinr(*command, run)
        assert (answer.code, answer.err.count("\n")) == (2, 1)
        assert "is imported from curve.csv and has no model; partinr report, table and compare" in answer.err


def test_the_same_content_is_imported_once(partinr: Any, curve: Path) -> None:
    asked = ["--name", "Splats", "-o", "run"]
    assert partinr("import", curve, *asked).out.startswith("imported")
    before = Path("run/run.json").read_bytes()
    assert partinr("import", curve, *asked).out.startswith("unchanged")
    curve.write_text(CURVE.replace("9", "11"))
    answer = partinr("import", curve, *asked)
    assert (answer.code, Path("run/run.json").read_bytes()) == (2, before)
    assert "was imported from other content (curve.csv); replace it with --replace" in answer.err
    assert partinr("import", curve, *asked, "--replace").out.startswith("imported")
    assert manifest("run")["metrics"]["psnr"] == 11
    assert not list(Path().glob(".*importing"))


def test_final_numbers_of_images_pair_with_a_run_of_a_folder(partinr: Any, tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    file.write_text("File;PSNR [dB];SSIM\na;20;0.5\nb;30;0.7\n")
    for name in ("Splats", "Codec"):
        assert partinr("import", file, "--name", name, "-o", f"runs/{name}").code == 0
        file.write_text(file.read_text().replace("20", "21"))
    found = manifest("runs/Splats")
    assert found["images"] == {"a": {"psnr": 20, "ssim": 0.5}, "b": {"psnr": 30, "ssim": 0.7}}
    assert found["metrics"] == {"psnr": 25, "ssim": pytest.approx(0.6)}
    assert "| Codec | 2 | +0.50 |" in partinr("table", "runs", "--against", "Splats", "--format", "md").out


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("", [], "has no row below its header; give a CSV file"),
        ("a,b\n1,2\n", [], r"has no column of PSNR; it has a, b; say which it is: --column psnr=NAME"),
        ("a,b\n1,2\n", ["--column", "psnr=c"], "has no such column; choose from a, b"),
        ("a,b\n1,2\n", ["--column", "psnr"], "give OURS=THEIRS, such as --column psnr=a"),
        ("a,psnr\n1,2\n2,3\n", [], "2 rows, and no column of steps, seconds or images; say which it is: --column step"),
        ("step,psnr\n2,2\n1,3\n", [], "line 3: step does not rise; give one curve, in its order"),
        ("step,psnr\n1,x\n", [], "line 2: psnr is 'x', which is no number; correct it, or remove the column"),
        ("step,psnr\n1\n", [], "line 2: it has another number of cells than the header; correct it"),
        ("step,psnr,psnr\n1,2,3\n", [], "has the column 'psnr' twice"),
        ("step,psnr\n1,\n", [], "has no number in psnr; say which column is the PSNR"),
        ("image,psnr\na,1\na,2\n", [], "more than one row for the image 'a'; give the last of each image"),
        ("psnr\n1\n", ["--reconstruction", "x.png"], "needs the image that was fitted; give --signal FILE"),
        ("psnr\n1\n", ["--signal", "x.png"], "x.png does not exist; give a run directory"),
    ],
)
def test_what_cannot_be_imported_is_one_line(
    partinr: Any, tmp_path: Path, text: str, options: list[str], said: str
) -> None:
    file = tmp_path / "table.csv"
    file.write_text(text)
    answer = partinr("import", file, "--name", "Splats", *options)
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert said in answer.err
    assert not Path("outputs").exists()


def test_a_run_of_partinr_is_never_replaced(partinr: Any, finished: Path, curve: Path, tmp_path: Path) -> None:
    run = shutil.copytree(finished, tmp_path / "run")
    answer = partinr("import", curve, "--name", "Splats", "-o", run, "--replace")
    assert answer.code == 2
    assert "holds a run that was not imported; give another folder with -o" in answer.err
    assert manifest(run) == manifest(finished)


def test_each_name_of_a_column_means_one_thing() -> None:
    names = [name for alike in NAMES.values() for name in alike]
    assert len(names) == len(set(names))

"""HFS: what its process is given, what is made of its answer, and that its death is not ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from partinr.base.errors import PartinrError, PartinrWarning
from partinr.partition import Semantic, semantic
from partinr.partition.merge import components, merge

# What the partition paper's code sets.
OPTIONS = {
    "segEgbThresholdI": 0.08,
    "minRegionSizeI": 100,
    "segEgbThresholdII": 0.28,
    "minRegionSizeII": 200,
    "spatialWeight": 0.6,
    "slicSpixelSize": 8,
    "numSlicIter": 5,
}

DIRECTLY = """
import sys, cv2, numpy as np
image = np.load(sys.argv[1])
for name, given in (("bgr", image[:, :, ::-1]), ("rgb", image)):
    engine = cv2.hfs.HfsSegment_create(*image.shape[:2])
    np.save(name, engine.performSegmentCpu(np.ascontiguousarray(given), False))
"""


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Another program in the place of HFS."""

    def put(text: str) -> None:
        path = tmp_path / "program.py"
        path.write_text(text)
        monkeypatch.setattr(semantic, "_PROGRAM", path)

    return put


@pytest.fixture
def given(program):
    """Run a rule and see what its program was given: the image, and the options."""
    program(
        "import io, sys, numpy as np\n"
        "open('options', 'w').write(sys.argv[1])\n"
        "image = np.load(io.BytesIO(sys.stdin.buffer.read()))\n"
        "np.save('image', image)\n"
        "np.save(sys.stdout.buffer, np.arange(image[..., 0].size, dtype=np.uint16).reshape(image.shape[:2]))\n"
    )

    def see(rule, signal):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PartinrWarning)
            rule(signal)
        return np.load("image.npy"), json.loads(Path("options").read_text())

    return see


# ---------------------------------------------------------------------------------------------------------------------
# The algorithm itself


def test_the_segments_are_those_that_opencv_gives_for_the_same_colours(picture):
    signal = picture("scene", (60, 90))
    np.save("image", (signal * 255).round().byte().numpy())
    subprocess.run([sys.executable, "-c", DIRECTLY, "image.npy"], check=True)
    right, wrong = np.load("bgr.npy"), np.load("rgb.npy")
    assert not np.array_equal(components(right), components(wrong)), "this picture does not tell the orders apart"
    found = Semantic(min_pixels=1).segments(signal.numpy())
    assert np.array_equal(found, right)
    assert np.array_equal(
        Semantic(min_pixels=1, regions=4)(signal).labels, merge(components(right), 4, "smallest", signal.numpy())
    )


def test_options_reach_the_algorithm(picture):
    signal = picture("scene", (60, 90)).numpy()
    usual, *fewer = (
        len(np.unique(Semantic(min_pixels=1, **options).segments(signal)))
        for options in (
            dict[str, Any](),
            {"threshold_1": 10.0, "threshold_2": 10.0},
            {"min_size_1": 2000, "min_size_2": 2000},
            {"superpixel_size": 40},
        )
    )
    assert usual > max(fewer) >= 1


def test_what_the_process_says_is_not_taken_for_labels(picture, monkeypatch, capfd):
    signal = picture("scene", (40, 60)).numpy()
    expected = Semantic(min_pixels=1).segments(signal)
    for variable in [("OPENCV_LOG_LEVEL", "VERBOSE"), ("PYTHONDEVMODE", "1"), ("PYTHONWARNINGS", "error")]:
        monkeypatch.setenv(*variable)
    assert np.array_equal(Semantic(min_pixels=1).segments(signal), expected)
    assert capfd.readouterr() == ("", "")


def test_modules_of_the_same_name_are_not_taken_for_others(picture, monkeypatch):
    # Beside the program lie random.py and others; in the current folder anything may lie.
    Path("beside").mkdir()
    program = Path("beside", "hfs.py")
    program.write_bytes(semantic._PROGRAM.read_bytes())
    monkeypatch.setattr(semantic, "_PROGRAM", program)
    for name in ("random.py", "numpy.py", "json.py", "beside/random.py", "beside/numpy.py", "beside/json.py"):
        Path(name).write_text("raise ImportError\n")
    assert Semantic(min_pixels=1, regions=None)(picture("scene", (40, 60))).regions > 1


# ---------------------------------------------------------------------------------------------------------------------
# What the process is given


def test_it_is_given_blue_first_in_bytes(given, picture):
    signal = picture("noise", (9, 13))
    image, _ = given(Semantic(min_pixels=1), signal)
    assert image.dtype == np.uint8
    assert image.flags["C_CONTIGUOUS"]
    assert np.array_equal(image[:, :, ::-1], (signal * 255).round().numpy())


def test_it_is_given_the_options_under_their_names(given, picture):
    signal = picture("noise", (9, 13))
    assert given(Semantic(), signal)[1] == OPTIONS
    others = Semantic(
        threshold_1=0.1,
        min_size_1=1,
        threshold_2=0.2,
        min_size_2=2,
        spatial_weight=0.3,
        superpixel_size=9,
        iterations=4,
        regions=2,
    )
    assert given(others, signal)[1] == dict(zip(OPTIONS, (0.1, 1, 0.2, 2, 0.3, 9, 4), strict=True))


@pytest.mark.parametrize("shape", [(1, 1), (20, 30), (1, 500), (100, 100), (150, 300)])
def test_it_is_given_no_more_and_no_fewer_pixels_than_the_options_say(shape, given, picture):
    signal = picture("ramp", shape)
    height, width = given(Semantic(min_pixels=3000, max_pixels=10_000), signal)[0].shape[:2]
    pixels = shape[0] * shape[1]
    scale = (min(max(pixels, 3000), 10_000) / pixels) ** 0.5
    assert abs(height - scale * shape[0]) < 1
    assert abs(width - scale * shape[1]) < 1
    assert height * width >= min(pixels, 3000)
    assert height * width <= 10_000


def test_the_answer_is_brought_back_to_the_pixels(program, picture):
    # The left and the right half, at the size that the program saw.
    program(
        "import io, sys, numpy as np\n"
        "shape = np.load(io.BytesIO(sys.stdin.buffer.read())).shape\n"
        "assert shape[0] * shape[1] >= 5000\n"
        "np.save(sys.stdout.buffer, (np.indices(shape[:2])[1] >= shape[1] // 2).astype(np.uint16) + 1)\n"
    )
    partition = Semantic(min_pixels=5000, regions=2)(picture("noise", (4, 6)))
    assert partition.labels.tolist() == [[0, 0, 0, 1, 1, 1]] * 4


# ---------------------------------------------------------------------------------------------------------------------
# When it goes wrong

SIGNAL = torch.zeros(4, 5, 3)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import os; os.kill(os.getpid(), 11)", r"died \(signal 11\)"),
        ("import os; os.abort()", r"died \(signal 6\)"),
        ("import sys; sys.exit('out of\\nmemory')", r"failed: memory"),
        ("raise RuntimeError('no hfs here')", r"failed: RuntimeError: no hfs here"),
        ("import sys; sys.exit(3)", r"failed: it said nothing"),
        ("print('hello')", r"is no label map"),
        ("", r"is no label map"),
    ],
)
def test_its_failure_is_one_line_with_a_way_out(text, said, program, capfd):
    program(text)
    with pytest.raises(PartinrError, match=said) as caught:
        Semantic()(SIGNAL)
    assert str(caught.value).endswith("; choose other options of partition=semantic, or partition=superpixel")
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_one_that_hangs_is_ended(program, monkeypatch):
    monkeypatch.setattr(semantic, "_PATIENCE", 0.5)
    program("import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(600)")
    with pytest.raises(PartinrError, match=r"did not end within 0\.5 seconds; choose"):
        Semantic()(SIGNAL)
    if os.path.exists("pid"):
        with pytest.raises(ProcessLookupError):
            os.kill(int(Path("pid").read_text()), 0)


def test_what_opencv_refuses_is_one_line():
    grey = np.zeros((9, 9), np.uint8)
    with pytest.raises(PartinrError, match=r"HFS failed: error: OpenCV.*number of channels.*; choose") as caught:
        semantic._hfs(grey, {})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"superpixel_size": 7}, r"Semantic\.superpixel_size=7: should be greater than or equal to 8"),
        ({"superpixel_size": 0}, r"Semantic\.superpixel_size=0"),
        ({"superpixel_size": 2**15}, r"Semantic\.superpixel_size=32768"),
        ({"min_size_1": 2**31}, r"Semantic\.min_size_1="),
        ({"threshold_1": -0.1}, r"Semantic\.threshold_1=-0\.1"),
        ({"threshold_2": float("nan")}, r"Semantic\.threshold_2=nan"),
        ({"spatial_weight": float("inf")}, r"Semantic\.spatial_weight=inf"),
        ({"iterations": 0}, r"Semantic\.iterations=0"),
        ({"max_pixels": 100_000}, "partition.min_pixels=150000 is more than partition.max_pixels=100000"),
        ({"method": "gpu"}, r"no option Semantic\.method"),
    ],
)
def test_options_are_refused_before_any_process_starts(options, said, monkeypatch):
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("a process was started"))
    with pytest.raises(PartinrError, match=said) as caught:
        Semantic(**options)(SIGNAL)
    assert "\n" not in str(caught.value)

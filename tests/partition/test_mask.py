"""Regions from a file: every kind of file gives its labels on the grid of the signal; anything else is refused."""

from __future__ import annotations

import gzip
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import nibabel
import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFilter
from scipy.io import savemat

from partinr.base.errors import PartinrError, PartinrWarning
from partinr.partition import LabelCache, Mask, Partition, make
from partinr.partition.coding import coded_bits
from partinr.partition.isolated import run_isolated
from partinr.signals import ImageData, Source, VolumeData
from partinr.signals.video import FilmSource
from tests.covering import cases

HEIGHT, WIDTH = 12, 18
RNG = np.random.default_rng(0)
SIGNAL = torch.from_numpy(RNG.random((HEIGHT, WIDTH, 3), dtype=np.float32))


def blocks(count: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """``count`` labels, 0 …, each in several places."""
    labels = RNG.integers(0, count, (height // 2, width // 2))
    labels.flat[:count] = np.arange(count)
    return labels.repeat(2, axis=0).repeat(2, axis=1)


def same(partition: Partition, labels: np.ndarray) -> bool:
    """Whether two maps have the same regions, whatever their numbers are."""
    assert partition.labels.shape == labels.shape
    pairs = {*zip(partition.labels.reshape(-1).tolist(), labels.reshape(-1).tolist(), strict=True)}
    return len(pairs) == partition.regions == len(np.unique(labels))


@pytest.fixture
def mask(tmp_path: Path, mat_is_read_here: None) -> Callable[..., Mask]:
    """The rule for a file with this content, whose name says nothing about it."""

    def write(content: bytes, **options: Any) -> Mask:
        path = tmp_path / "labels"
        path.write_bytes(content)
        return Mask(path=str(path), **options)

    return write


def picture(array: np.ndarray, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array if array.dtype.itemsize < 8 else array.astype(np.uint8)).save(buffer, kind, **options)
    return buffer.getvalue()


def png(array: np.ndarray, **options: Any) -> bytes:
    return picture(array, "PNG", **options)


def palette_png(indices: np.ndarray, colours: np.ndarray, **options: Any) -> bytes:
    image = Image.frombytes("P", indices.shape[::-1], indices.astype(np.uint8).tobytes())
    image.putpalette(colours.astype(np.uint8).tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()


def deep_png(array: np.ndarray) -> bytes:
    done, content = cv2.imencode(".png", array)
    assert done
    return content.tobytes()


def npy(array: np.ndarray, allow_pickle: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=allow_pickle)
    return buffer.getvalue()


def mat(variables: dict[str, Any], **options: Any) -> bytes:
    buffer = io.BytesIO()
    savemat(buffer, variables, **options)
    return buffer.getvalue()


def ground_truth(*maps: np.ndarray) -> dict[str, Any]:
    """As in BSDS500: a cell array, a struct a person."""
    cells = np.empty((1, len(maps)), dtype=object)
    for k, labels in enumerate(maps):
        cells[0, k] = {"Segmentation": labels.astype(np.uint16) + 1, "Boundaries": labels.astype(np.uint8) > 0}
    return {"groundTruth": cells}


# ---------------------------------------------------------------------------------------------------------------------
# Files

FIVE = blocks(5)
TWO = blocks(2)
COLOURS = RNG.permutation(256)[:15].reshape(5, 3)
# Two of these differ only in red; a palette may even have a colour twice.
COLOURS[1] = COLOURS[0] + [1, 0, 0]
TWICE = np.stack([COLOURS[0]] * 5)

FILES = {
    "grey": (FIVE, png(50 * FIVE)),
    "255 where nobody knows": (FIVE, png(np.where(FIVE == 4, 255, FIVE))),
    "grey of one bit": (TWO, png(TWO.astype(bool))),
    "grey of 16 bits": (FIVE, png((FIVE + 40_000).astype(np.uint16))),
    "palette": (FIVE, palette_png(FIVE, COLOURS)),
    "palette of four bits": (FIVE, palette_png(FIVE, TWICE, bits=4)),
    "palette of one bit": (TWO, palette_png(TWO, TWICE[:2], bits=1)),
    "palette with a transparent entry": (FIVE, palette_png(FIVE, TWICE, transparency=2)),
    "colour": (FIVE, png(COLOURS[FIVE])),
    "colour of 16 bits": (FIVE, deep_png((COLOURS[FIVE] * 200).astype(np.uint16))),
    "TIFF": (FIVE, picture(50 * FIVE, "TIFF")),
    "TIFF of 16 bits": (FIVE, picture((FIVE + 40_000).astype(np.uint16), "TIFF")),
    "TIFF of floats": (FIVE, picture((FIVE * 300).astype(np.float32), "TIFF")),
    "BMP": (FIVE, picture(COLOURS[FIVE], "BMP")),
    "a large profile": (FIVE, png(FIVE, icc_profile=bytes(2_000_000))),
    "opaque": (FIVE, png(np.dstack([COLOURS[FIVE], np.full_like(FIVE, 255)]))),
    "int64 with gaps": (FIVE, npy(FIVE * 10**15 - 7)),
    "uint64 beyond int64": (FIVE, npy(FIVE.astype(np.uint64) + np.uint64(2**63 - 2))),
    "int8": (FIVE, npy((FIVE - 100).astype(np.int8))),
    "big-endian": (FIVE, npy(FIVE.astype(">i4"))),
    "column by column": (FIVE, npy(np.asfortranarray(FIVE))),
    "truth values": (TWO, npy(TWO.astype(bool))),
    "whole floats": (FIVE, npy(FIVE - 2.0)),
    "large floats": (FIVE, npy((FIVE * 1e30).astype(np.float32))),
    "MATLAB's numbers": (FIVE, mat({"labels": FIVE + 1.0})),
    "MATLAB's logical": (TWO, mat({"labels": TWO.astype(bool)})),
    "MATLAB, compressed": (FIVE, mat({"labels": FIVE.astype(np.int16)}, do_compression=True)),
    "MATLAB, beside other things": (
        FIVE,
        mat({"labels": FIVE, "count": 5, "who": "me", "volume": np.zeros((2, 2, 2))}),
    ),
    "BSDS500": (FIVE, mat(ground_truth(FIVE))),
    "BSDS500, first of several": (FIVE, mat(ground_truth(FIVE, TWO), do_compression=True)),
    "a struct": (FIVE, mat({"GTinst": {"Segmentation": FIVE, "Categories": np.arange(9)}})),
}


def test_the_regions_are_those_of_the_file(mask: Any) -> None:
    for kind in FILES:
        labels, content = FILES[kind]
        partition = mask(content)(SIGNAL)
        assert same(partition, labels)
        assert partition.labels[0, 0] == 0
        assert partition.notice is None


def test_annotators(mask: Any) -> None:
    maps = [blocks(n) for n in (3, 5, 4)]
    content = mat(ground_truth(*maps))
    for k, labels in enumerate(maps):
        assert same(mask(content, annotator=k)(SIGNAL), labels)
    with pytest.raises(PartinrError, match=r"partition.annotator=3, but '.*' holds 3 label maps; give 0 … 2"):
        mask(content, annotator=3)(SIGNAL)
    for single in (png(FIVE), npy(FIVE), mat({"labels": FIVE})):
        with pytest.raises(PartinrError, match=r"partition.annotator=1, but '.*' holds one label map; leave it out"):
            mask(single, annotator=1)(SIGNAL)


def test_variables(mask: Any) -> None:
    content = mat({"five": FIVE, "two": TWO, "name": "x", **ground_truth(FIVE, TWO)})
    assert same(mask(content, key="two")(SIGNAL), TWO)
    assert same(mask(content, key="groundTruth", annotator=1)(SIGNAL), TWO)
    with pytest.raises(PartinrError, match=r"several matrices: five, groundTruth, two; .* partition.key=five"):
        mask(content)(SIGNAL)
    for key in ("name", "three"):
        with pytest.raises(PartinrError, match=rf"partition.key={key} is no .*; there are: five, groundTruth, two"):
            mask(content, key=key)(SIGNAL)
    with pytest.raises(PartinrError, match=r"partition.key=x is no label map .*; give another file"):
        mask(mat({"name": "x"}), key="x")(SIGNAL)
    for other in (png(FIVE), npy(FIVE)):
        with pytest.raises(PartinrError, match=r"partition.key=two names a variable .*; leave it out"):
            mask(other, key="two")(SIGNAL)


def animation() -> bytes:
    frames = [Image.fromarray(np.full((HEIGHT, WIDTH), k, np.uint8)) for k in (1, 2)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "PNG", save_all=True, append_images=frames[1:])
    return buffer.getvalue()


def jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(FIVE.astype(np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


def transparent() -> bytes:
    colours = np.dstack([COLOURS[FIVE], 255 * TWO]).astype(np.uint8)
    return png(colours)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def flat_png() -> bytes:
    content = bytearray(png(FIVE))
    content[16:24] = bytes(8)  # width and height
    return bytes(content)


NAN = np.where(FIVE == 3, np.nan, FIVE)
BAD = {
    "nothing": (b"", "is an empty file; copy"),
    "text": (b"0 0 1 1\n" * 99, r"is not a label map .*; give a PNG, TIFF, BMP, NPY, MAT"),
    "a short text": (b"0", r"is not a label map .*; give a PNG, TIFF, BMP, NPY, MAT"),
    "JPEG": (jpeg(), r"is a JPEG .* changes labels; give the PNG .* partition.tolerance=16"),
    "damaged PNG": (png(noise(40, 40))[:-300], "is a damaged .* PNG .*; copy"),
    "PNG without pixels": (flat_png(), r"has no pixels \(0x0\); give"),
    "animation": (animation(), "holds 2 pictures .*; save"),
    "transparent PNG": (png(np.dstack([COLOURS[FIVE], 255 * TWO])), "is transparent in places, .*; save"),
    "grey with a transparent value": (png(FIVE, transparency=3), "is transparent in places, .*; save"),
    "photograph": (png(noise(HEIGHT, WIDTH, 3)), "looks like a photograph: it has 216 values, .*; give"),
    "grey photograph": (png(noise(40, 40)), "looks like a photograph: it has 256 values, .*; give"),
    "damaged NPY": (npy(FIVE)[:-9], "cannot be read as NPY: .*; save .* numpy.save"),
    "damaged header of NPY": (npy(FIVE).replace(b"descr", b"desxr"), "cannot be read as NPY: .*; save"),
    "only the beginning of NPY": (b"\x93NUMPY", "cannot be read as NPY: .*; save"),
    "objects": (npy(FIVE.astype(object), allow_pickle=True), "cannot be read as NPY: Object arrays .*; save"),
    "names": (npy(FIVE.astype(str)), "holds <U.* values; save whole numbers"),
    "complex": (npy(FIVE.astype(complex)), "holds complex128 values; save"),
    "no rows": (npy(np.zeros((0, 5), int)), r"has no labels \(shape \[0, 5\]\); give"),
    "a number": (npy(np.array(3)), r"array of shape \[\]; give one label a sample"),
    "a stack": (
        npy(np.zeros((3, HEIGHT, WIDTH), bool)),
        rf"shape \[3, {HEIGHT}, {WIDTH}\]; give .* partition.stack=first",
    ),
    "NaN": (npy(NAN), f"has {np.isnan(NAN).sum()} of 216 labels that are NaN .*; give"),
    "infinity": (npy(np.where(FIVE == 1, np.inf, FIVE)), "NaN or infinite; give"),
    "broken numbers": (npy(FIVE / 2), r"not whole, such as 0\.5; give"),
    "broken numbers of MATLAB": (mat({"x": FIVE + 0.25}), r"not whole, such as \d\.25; give"),
    "damaged MAT": (mat({"x": FIVE}, do_compression=True)[:-9], "is a damaged .* MAT file; copy"),
    "only the header of MAT": (mat({"x": FIVE})[:128], r"has no label map among its variables \(none\); give"),
    "MAT with a number": (mat({"x": 3, "y": "labels"}), r"has no label map .* \(x, y\); give"),
    "MAT with nothing": (mat({"x": np.zeros((0, 0))}), r"has no label map .* \(x\); give"),
    "struct without labels": (mat({"x": {"Boundaries": FIVE}}), r"has no label map .* \(x\); give"),
    "MATLAB 7.3": (b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM".ljust(388, b"\0") + b"\x89HDF\r\n\x1a\n", "'-v7'"),
    "damaged NIfTI": (gzip.compress(bytes(999))[:15], "is a damaged gzip file; copy"),
    "a compressed text": (gzip.compress(b"labels"), "is not a volume that can be read here; give NIfTI"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(999), "is an HDF5 file, .*; save"),
}


def test_what_is_no_label_map_is_refused(mask: Any) -> None:
    for kind in BAD:
        content, said = BAD[kind]
        with pytest.raises(PartinrError, match=said) as caught:
            mask(content)(SIGNAL)
        assert re.fullmatch(r"'.*labels' .*; .*", str(caught.value))


def test_a_file_with_any_damage_is_refused_in_a_line_or_is_a_map(mask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("partinr.partition.labelmap.run_isolated", run_isolated)
    rng = np.random.default_rng(0)
    refusals = []
    # Each MAT file is read by a new process, so there are few of them.
    for content, times in ((png(FIVE), 100), (npy(FIVE), 100), (mat(ground_truth(FIVE)), 4)):
        for _ in range(times):
            damaged = bytearray(content)
            for at in rng.integers(0, len(content), 3):
                damaged[at] = rng.integers(256)
            end = rng.integers(len(content) // 2, 2 * len(content))
            try:
                assert mask(bytes(damaged[:end])).carry_out(SIGNAL).shape == (HEIGHT, WIDTH)
            except PartinrError as error:
                refusals.append(str(error))
    assert len(refusals) > 50
    assert not [said for said in refusals if "\n" in said]


@pytest.mark.parametrize("program", ["import os; os.kill(os.getpid(), 11)", "while True: pass"])
def test_a_reader_that_dies_or_hangs_takes_nothing_along(
    mask: Any, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    Path("program.py").write_text(program)
    monkeypatch.setattr("partinr.partition.labelmap.run_isolated", run_isolated)
    monkeypatch.setattr("partinr.partition.labelmap._MAT_PROGRAM", Path("program.py"))
    monkeypatch.setattr("partinr.partition.labelmap._MAT_PATIENCE", 0.5)
    with pytest.raises(PartinrError, match="is a damaged or unusual MAT file; copy it again"):
        mask(mat({"x": FIVE}))(SIGNAL)


def test_no_picture_of_many_labels_is_taken_for_a_photograph(mask: Any) -> None:
    # Superpixels of 3 × 3, each with a colour of its own, and, as numbers are meant, a label a pixel.
    labels = np.arange(400).reshape(20, 20).repeat(3, axis=0).repeat(3, axis=1)
    colours = np.stack([labels % 256, labels // 256, 0 * labels], axis=-1).astype(np.uint8)
    assert mask(png(colours)).carry_out(torch.zeros(60, 60, 1)).regions == 400
    assert mask(npy(np.arange(3600).reshape(60, 60))).carry_out(torch.zeros(60, 60, 1)).regions == 3600
    assert mask(png(np.indices((60, 60)).sum(axis=0) % 2)).carry_out(torch.zeros(60, 60, 1)).regions == 2


def test_options_that_are_refused() -> None:
    for options, said in cases(
        ({"path": ""}, "partition.path is empty; give"),
        ({}, r"option .*path is missing"),
        ({"path": 3}, r"Mask\.path=3"),
        ({"path": "x", "annotator": -1}, r"Mask\.annotator=-1"),
        ({"path": "x", "key": 3}, r"Mask\.key=3"),
        ({"path": "x", "regions": 0}, r"Mask\.regions"),
        ({"path": "no/such.png"}, r"no such file: 'no/such.png'; the folder 'no' is not there"),
        ({"path": "such.png"}, r"no such file: 'such.png'; check the path"),
        ({"path": "such\0.png"}, r"no such file: 'such\\x00.png'; "),
        ({"path": "x" * 999}, "cannot be read: .*; check"),
    ):
        with pytest.raises(PartinrError, match=said) as caught:
            Mask(**options)(SIGNAL)
        assert "\n" not in str(caught.value)


def test_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "labels.png").write_bytes(png(FIVE))
    assert same(Mask(path="~/labels.png")(SIGNAL), FIVE)
    assert same(Mask(path="~")(SIGNAL, Source("labels")), FIVE)


# ---------------------------------------------------------------------------------------------------------------------
# Geometry


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """An image and a label map next to it, both with the same blocks."""
    path = tmp_path / "photos" / "block.v2.jpg"
    path.parent.mkdir()
    Image.fromarray(COLOURS[blocks(5, 40, 60)].astype(np.uint8)).save(path)
    return path


@pytest.mark.parametrize("options", [{}, {"size": 40}, {"size": 16}, {"size": 64}, {"max_side": 30}])
def test_a_map_of_the_image_is_cut_like_it(mask: Any, photo: Path, options: dict[str, Any]) -> None:
    data = ImageData(path=str(photo), **options)
    labels = blocks(5, 40, 60)
    partition = mask(npy(labels)).carry_out(data.load(), data.source)
    assert same(partition, data.source.cut_labels(torch.from_numpy(labels)).numpy())


def test_a_label_may_be_cut_away(mask: Any, photo: Path) -> None:
    labels = np.zeros((40, 60), int)
    labels[:, 30:], labels[:, :5] = 1, 2  # the square in the middle begins at column 10
    data = ImageData(path=str(photo), size=40)
    assert mask(npy(labels))(data.load(), data.source).labels[0].tolist() == [0] * 20 + [1] * 20


def test_a_map_of_the_signal_is_taken_as_it_is(mask: Any, photo: Path) -> None:
    labels = blocks(5, 16, 16)
    data = ImageData(path=str(photo), size=16)
    assert same(mask(npy(labels))(data.load(), data.source), labels)
    assert same(mask(npy(labels))(data.load()), labels)


def test_another_shape_is_refused(mask: Any, photo: Path) -> None:
    data = ImageData(path=str(photo), size=16)
    for shape in ((60, 40), (20, 30), (40, 40), (1, 16)):
        rule = mask(npy(np.zeros(shape, int)))
        with pytest.raises(PartinrError, match=rf"{shape[0]}×{shape[1]} pixels, the image block.v2 40×60; give"):
            rule(data.load(), data.source)
        with pytest.raises(PartinrError, match=rf"another shape .*: {shape[0]}×{shape[1]} labels for 16×16 .*; give"):
            rule(data.load())
    # A source that does not belong to the signal, or that has no file to say how large the image was.
    for source in (ImageData(path=str(photo), size=9).source, Source("block", size=9), Source("block")):
        with pytest.raises(PartinrError, match=r"another shape .*: 40×60 labels for 16×16 samples; give"):
            mask(npy(blocks(5, 40, 60)))(data.load(), source)


def test_a_signal_on_a_line(mask: Any) -> None:
    labels = np.array([4, 4, 4, 7, 7, 4, 4, -1, 7])
    signal = torch.rand(9, 1)
    assert mask(npy(labels))(signal).labels.tolist() == [0, 0, 0, 1, 1, 0, 0, 2, 1]
    assert mask(npy(labels), connected=True)(signal).labels.tolist() == [0, 0, 0, 1, 1, 2, 2, 3, 4]
    assert mask(npy(labels), regions=2, merge="boundary")(signal).regions == 2
    with pytest.raises(PartinrError, match=r"another shape .*: 8 labels for 9 samples; give"):
        mask(npy(labels[:8]))(signal)
    with pytest.raises(PartinrError, match=r"another shape .*: 9 labels for 12×18 samples; give"):
        mask(npy(labels))(SIGNAL, Source("line", size=3))


def test_volumes_and_films(mask: Any, tmp_path: Path) -> None:
    volume = np.stack([FIVE, FIVE, TWO + 7, FIVE])
    signal = torch.zeros(4, HEIGHT, WIDTH, 2)
    scores = np.stack([volume == label for label in np.unique(volume)])
    nibabel.save(nibabel.Nifti1Image(volume.astype(np.int16), np.eye(4)), tmp_path / "scan.nii.gz")
    for rule in (Mask(path=str(tmp_path / "scan.nii.gz")), Mask(path=str(tmp_path))):
        assert same(rule(signal, Source("scan")), volume)
    for content in (npy(volume), npy(volume[None, ..., None]), mat({"labels": volume, "plane": FIVE})):
        assert same(mask(content)(signal), volume)
    assert same(mask(npy(scores), stack="first")(signal), volume)
    # It is cut like the volume of the file.
    data = VolumeData(path=str(tmp_path / "scan.nii.gz"), crop=[[1, 4], [0, 12], [2, 18]], stride=2, size=8)
    found = Mask(path=data.path)(data.load(), data.source)
    assert same(found, volume[1:4:2, :12:2, 2:18:2])
    with pytest.raises(PartinrError, match=r"label map has 3×12×18 samples, the volume scan 4×12×18; give a map with"):
        mask(npy(volume[1:]))(data.load(), data.source)
    # Neighbours are those along all three axes.
    apart = np.zeros((3, 4, 4), int)
    apart[0, 0, 0], apart[2, 3, 3] = 1, 1
    assert mask(npy(apart), connected=True)(torch.zeros(3, 4, 4, 1)).regions == 3
    # A map of one frame is held through a film, and cut like its frames.
    assert same(mask(npy(FIVE))(signal), np.stack([FIVE] * 4))
    with pytest.raises(PartinrError, match=r"another shape .*: 12×18 labels for 9×9 samples; give"):
        mask(npy(FIVE))(torch.zeros(2, 9, 9, 3))
    half = mask(npy(FIVE))(signal[:, ::2, ::2], FilmSource("film", max_side=WIDTH // 2)).labels
    assert torch.equal(half[0], half[1])
    with pytest.raises(PartinrError, match=r"give one label a sample, \[D, H, W\]; .*partition.stack=first"):
        mask(npy(scores))(signal)


def turned(array: np.ndarray, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return png(array, exif=exif)


def test_an_image_and_its_map_are_turned_alike(mask: Any, tmp_path: Path) -> None:
    labels = np.zeros((40, 60), int)
    labels[:20], labels[:, :10] = 1, 2
    photo = ImageData(path=str(tmp_path / "photo.png"))
    (tmp_path / "photo.png").write_bytes(turned(np.zeros((40, 60, 3), np.uint8), 6))
    upright = np.rot90(labels, -1)
    # The map of the stored pixels, that of the picture as it is seen, and one with the same orientation.
    for content in (npy(labels), npy(upright), turned(labels, 6)):
        assert same(mask(content)(photo.load(), photo.source), upright)
    with pytest.raises(PartinrError, match=r"EXIF orientation of its own \(6\), .* 40×60 .*60×40; save the label map"):
        mask(turned(upright, 6))(photo.load(), photo.source)
    # Where the shape says nothing, the map is taken as it is seen, and that is said.
    for shape, orientation in (((40, 60), 3), ((40, 40), 6)):
        (tmp_path / "photo.png").write_bytes(turned(np.zeros((*shape, 3), np.uint8), orientation))
        labels = np.indices(shape)[0] // 20
        said = mask(npy(labels)).carry_out(photo.load(), photo.source)
        assert same(said, labels)
        assert f"EXIF orientation {orientation}" in str(said.notice)
        assert mask(turned(labels, 1)).carry_out(photo.load(), Source("photo")).notice is None


# ---------------------------------------------------------------------------------------------------------------------
# Soft masks


SHAPES = Image.new("RGB", (384, 256))
ImageDraw.Draw(SHAPES).ellipse((40, 20, 200, 180), fill=(128, 64, 128))
ImageDraw.Draw(SHAPES).rectangle((240, 100, 350, 220), fill=(220, 20, 60))


def as_jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


QUARTER = SHAPES.resize((96, 64), Image.Resampling.NEAREST)
SOFT: dict[str, tuple[Image.Image, int, dict[str, int]]] = {
    "antialiased": (SHAPES.resize((96, 64), Image.Resampling.LANCZOS), 3, {}),
    "averaged": (SHAPES.resize((96, 64), Image.Resampling.BOX), 3, {}),
    "enlarged": (QUARTER.resize((384, 256), Image.Resampling.BILINEAR), 3, {}),
    "grey, enlarged": (QUARTER.convert("L").resize((384, 256), Image.Resampling.BILINEAR), 3, {}),
    "blurred": (SHAPES.filter(ImageFilter.GaussianBlur(1)), 3, {}),
    "JPEG of two values": (as_jpeg(SHAPES.convert("L").point(lambda value: 255 * (value > 0)), 50), 2, {}),
    "JPEG of colours": (as_jpeg(SHAPES, 90), 3, {"tolerance": 16}),
}


@pytest.mark.parametrize("kind", SOFT)
def test_the_advice_for_a_soft_mask_gives_its_regions(mask: Any, kind: str) -> None:
    image, regions, options = SOFT[kind]
    content, signal = png(np.asarray(image)), torch.zeros(image.height, image.width, 3)
    said = mask(content).carry_out(signal)
    found = re.match(
        rf"(\d+) of the {said.regions} regions .* are tiny specks or thin lines, .*partition.min_pixels=(\d+) joins .*"
        r"partition.tolerance=16 joins its near colours$",
        str(said.notice),
    )
    assert found is not None
    assert regions <= said.regions - int(found[1]) < 20
    cured = mask(content, min_pixels=int(found[2]), **options)(signal)  # a notice would be an error
    assert cured.regions == regions
    assert min(cured.sizes) > 200


def test_a_map_of_one_label_is_noticed(mask: Any) -> None:
    content = npy(np.zeros((HEIGHT, WIDTH), int))
    assert "has one label on this signal" in str(mask(content).carry_out(SIGNAL).notice)
    assert mask(content, regions=1)(SIGNAL).regions == 1


def test_a_jpeg_is_taken_with_the_tolerance_that_its_refusal_names(mask: Any) -> None:
    buffer = io.BytesIO()
    SHAPES.save(buffer, "JPEG", quality=90)
    with pytest.raises(
        PartinrError, match=r"or partition.tolerance=16 and partition.min_pixels=16, which mend"
    ) as said:
        mask(buffer.getvalue())(torch.zeros(256, 384, 3))
    options = {name: int(value) for name, value in re.findall(r"partition.(\w+)=(\d+)", str(said.value))}
    assert mask(buffer.getvalue(), **options).carry_out(torch.zeros(256, 384, 3)).regions <= 6


def test_min_pixels(mask: Any) -> None:
    labels = np.zeros((20, 30), int)
    labels[2:6, 2:6], labels[10:13, 10:13], labels[5, 10:], labels[19, 29] = 1, 2, 3, 1
    signal = torch.zeros(20, 30, 1)
    for least, regions in ((1, 4), (9, 4), (10, 3), (16, 2), (17, 1)):
        assert mask(npy(labels), min_pixels=least).carry_out(signal).regions == regions
    with pytest.raises(
        PartinrError, match=r"no part of a region in .* partition.min_pixels=601 pixels; give a smaller"
    ):
        mask(npy(labels), min_pixels=601)(signal)
    line = np.repeat([0, 1, 0, 2], [40, 1, 40, 20])
    assert mask(npy(line), min_pixels=2)(torch.zeros(101, 1)).regions == 2


# ---------------------------------------------------------------------------------------------------------------------
# Arrays with more axes


def one_hot(labels: np.ndarray) -> np.ndarray:
    return np.stack([labels == label for label in range(labels.max() + 1)])


def test_axes_of_length_one_are_ignored(mask: Any) -> None:
    for array in (FIVE[None], FIVE[..., None], FIVE[None, None], FIVE[None, ..., None]):
        assert same(mask(npy(array))(SIGNAL), FIVE)
    assert same(mask(mat({"labels": FIVE[None]}))(SIGNAL), FIVE)


def test_a_stack_is_taken_with_the_option_that_its_refusal_names(mask: Any) -> None:
    scores = one_hot(FIVE) * 5.0 + RNG.random((5, HEIGHT, WIDTH)) - 2
    stacks = [one_hot(FIVE), one_hot(FIVE) * 255, scores, scores.astype(np.float16), scores[None]]
    for stack in [*stacks, *(np.moveaxis(stack, -3, -1) for stack in stacks)]:
        with pytest.raises(
            PartinrError, match=r"array of shape .*; give one label a sample, .H, W.; .* partition.stack="
        ) as said:
            mask(npy(stack))(SIGNAL)
        advised = re.findall(r"partition.stack=(\w+)", str(said.value))[0]
        assert same(mask(npy(stack), stack=advised)(SIGNAL), FIVE)
    variables = {"stack": one_hot(FIVE), "map": TWO}
    assert same(mask(mat(variables), stack="first")(SIGNAL), FIVE)
    assert same(mask(mat(variables))(SIGNAL), TWO)


def test_masks_that_overlap_or_leave_pixels_out(mask: Any) -> None:
    masks = one_hot(FIVE)
    assert same(mask(npy(masks[1:]), stack="first")(SIGNAL), FIVE)
    masks[0] = True
    with pytest.raises(PartinrError, match=rf"has {(FIVE > 0).sum()} pixels that are in several masks; give each"):
        mask(npy(masks), stack="first")(SIGNAL)


def test_a_stack_that_is_none_is_refused(mask: Any) -> None:
    for content, said in cases(
        (npy(FIVE), r"partition.stack=first needs an array of 3 axes.*; leave it out"),
        (npy(FIVE[None]), r"partition.stack=first finds one class in .*; leave it out"),
        (png(FIVE), r"partition.stack=first is the axis of an array .*; leave it out"),
    ):
        with pytest.raises(PartinrError, match=said):
            mask(content, stack="first")(SIGNAL)
        assert same(mask(content)(SIGNAL), FIVE)  # as advised
    with pytest.raises(PartinrError, match=r"partition.tolerance=9 joins the colours of a picture.*; leave it out"):
        mask(npy(FIVE), tolerance=9)(SIGNAL)


# ---------------------------------------------------------------------------------------------------------------------
# Folders


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One map for each of three images, in three formats, among other things."""
    folder = tmp_path / "maps of mine"
    folder.mkdir()
    (folder / "one.png").write_bytes(png(FIVE))
    (folder / "two.v2.NPY").write_bytes(npy(TWO))
    (folder / "three.mat").write_bytes(mat(ground_truth(FIVE, TWO)))
    for other in ("one.txt", "one.png.bak", "one-old.png", "two.npy", "README"):
        (folder / other).touch()
    return folder


def test_a_map_is_found_by_the_name_of_the_image(folder: Path) -> None:
    rule = Mask(path=str(folder))
    assert same(rule(SIGNAL, Source("one")), FIVE)
    assert same(rule(SIGNAL, Source("two.v2")), TWO)
    assert same(rule(SIGNAL, Source("three")), FIVE)
    assert same(Mask(path=str(folder), annotator=1)(SIGNAL, Source("three")), TWO)


def test_unicode_forms_of_one_name_match(folder: Path) -> None:
    (folder / "é.npy").write_bytes(npy(FIVE))
    rule = Mask(path=str(folder))
    assert same(rule(SIGNAL, Source("e\u0301")), FIVE)
    (folder / "e\u0301.npy").write_bytes(npy(FIVE))
    with pytest.raises(PartinrError, match=r"several .*: 'e\\u0301.npy' and '\\xe9.npy'; name the one"):
        rule(SIGNAL, Source("é"))


def test_one_map_an_image(folder: Path) -> None:
    (folder / "one.npy").write_bytes(npy(FIVE))
    rule = Mask(path=str(folder))
    with pytest.raises(PartinrError, match=r"several .* image one: one.npy and one.png; .*: partition.path=.*one.npy"):
        rule(SIGNAL, Source("one"))
    with pytest.raises(PartinrError, match=r"no label map for the image four; put four.png, .* or four.bmp into"):
        rule(SIGNAL, Source("four"))
    with pytest.raises(PartinrError, match=r"is a folder, and this signal has no name .*; name one file"):
        rule(SIGNAL)
    (folder / "five.png").mkdir()
    with pytest.raises(PartinrError, match=r"five.png' is a folder, not a label map; name one file"):
        rule(SIGNAL, Source("five"))


def test_a_folder_of_maps_for_a_folder_of_images(folder: Path, photo: Path) -> None:
    labels = blocks(4, 40, 60)
    (folder / "block.v2.mat").write_bytes(mat(ground_truth(labels)))
    data = ImageData(path=str(photo), max_side=30)
    assert same(Mask(path=str(folder)).carry_out(data.load(), data.source), labels[1::2, 1::2])


# ---------------------------------------------------------------------------------------------------------------------
# What a segmentation can do


def test_regions_are_merged_on_request(mask: Any) -> None:
    for merge in ["smallest", "boundary", "balanced", "balanced_detail"]:
        labels = np.kron(np.arange(6).reshape(2, 3), np.ones((6, 6), int))
        partition = mask(npy(labels), regions=4, merge=merge)(SIGNAL)
        assert partition.regions == 4
        pairs = torch.stack([partition.labels.reshape(-1), torch.from_numpy(labels).reshape(-1)])
        assert pairs.unique(dim=1).shape[1] == 6, "whole regions are merged"


def test_merging_looks_at_the_signal(mask: Any) -> None:
    labels = np.kron(np.arange(3)[None], np.ones((4, 4), int))
    for odd, joined in ((0, [0, 1, 1]), (2, [0, 0, 1])):
        signal = torch.full((4, 12, 1), 0.2)
        signal[:, 4 * odd : 4 * odd + 4] = 0.9
        assert mask(npy(labels), regions=2, merge="boundary")(signal).labels[0, ::4].tolist() == joined


def test_parts_become_regions_on_request(mask: Any) -> None:
    labels = np.array([[1, 0, 1], [1, 0, 1]]).repeat(6, axis=0).repeat(6, axis=1)
    assert mask(npy(labels))(SIGNAL).regions == 2
    assert mask(npy(labels), connected=True)(SIGNAL).regions == 3


def test_fewer_than_asked_for(mask: Any) -> None:
    with pytest.warns(PartinrWarning, match="partition=mask found 5 regions in this signal, fewer than the 6"):
        partition = mask(npy(FIVE), regions=6)(SIGNAL)
    assert partition.notice is not None
    assert same(partition, FIVE)
    with pytest.raises(PartinrError, match=r"found 5 regions .*; ask for fewer"):
        mask(npy(FIVE), regions=6, fewer="stop")(SIGNAL)


def test_the_map_has_to_be_stored_and_is_never_found_in_a_cache(mask: Any, tmp_path: Path) -> None:
    cache = LabelCache(tmp_path / "cache")
    for labels in (FIVE, TWO):  # the file is another, its name the same
        partition = make(mask(npy(labels)), SIGNAL, cache=cache)
        assert same(partition, labels)
        assert partition.bits == coded_bits(partition.labels) > 0
    assert not cache.folder.exists()

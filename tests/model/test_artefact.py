"""``inr.safetensors`` from another person: damaged, forged, of another version, with foreign code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save

from partinr.backbones import Siren
from partinr.base.errors import PartinrError
from partinr.model.inr import FORMAT, PiecewiseINR
from partinr.model.serialise import serialise
from partinr.partition import Grid
from tests.covering import cases

MODULE = """
from pathlib import Path
from partinr.backbones import Siren
from partinr.base.spec import spec

Path("imported").touch()


@spec
class Own(Siren):
    pass
"""


def model(**options: Any) -> PiecewiseINR:
    partition = Grid(rows=2, cols=2)(torch.zeros(6, 8, 3))
    return PiecewiseINR(partition, Siren(hidden_features=4, hidden_layers=1, **options))


def parts(own: PiecewiseINR, **changes: Any) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Header and tensors of a file, some of the header otherwise."""
    tensors = {**own.stack, "partition.labels": own.partition.labels.int()}
    return {"format": FORMAT, "engine": own.engine, **own.architecture(), **changes}, tensors


@pytest.mark.slow
def test_hundreds_of_damaged_and_forged_files(tmp_path: Path) -> None:
    # Importing it would leave a mark.
    (tmp_path / "canary.py").write_text(MODULE)
    files = tmp_path / "files"
    files.mkdir()
    script = Path(__file__).with_name("fuzz_artefact.py")
    paths = os.pathsep.join([str(tmp_path), str(script.parents[2]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-W", "error", script, files],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["faults"] == []
    assert said["cases"] > 900
    assert said["refused"] > 0.9 * said["cases"]
    # None of them makes the reader count through what it only claims to hold.
    assert said["slowest"] < 30
    assert said["grown"] < 2**28
    assert not (tmp_path / "imported").exists()
    assert [path.name for path in files.iterdir()] == ["inr.safetensors"]


def test_it_opens_without_partinr_and_says_its_version(tmp_path: Path) -> None:
    path = tmp_path / "inr.safetensors"
    path.write_bytes(model().to_bytes())
    with safe_open(path, framework="np") as file:
        header = json.loads(file.metadata()["partinr"])
        assert header["format"] == FORMAT
        assert header["options"]["hidden_features"] == 4
        assert file.get_tensor("partition.labels").shape == (6, 8)


def test_a_file_says_why_it_is_refused(tmp_path: Path) -> None:
    for changes, says in cases(
        ({"format": FORMAT + 1}, rf"was written by a newer partinr; update .* \(its format is {FORMAT + 1},"),
        ({"format": 0}, "its format is '0'"),
        ({"backbone": "nowhere.Siren"}, r"nowhere.Siren is neither partinr's nor .* set PARTINR_TRUST=nowhere, or"),
        ({"backbone": "torch.nn.Linear"}, "torch.nn.Linear is no backbone"),
        ({"backbone": "partinr.backbones.siren.Sirene"}, "Sirene is not there in this version of partinr.backbones"),
        ({"options": {"hidden_features": 4, "depth": 1}}, "there is no option Siren.depth"),
        ({"options": {"hidden_features": 10**6, "hidden_layers": 1}}, r"its \w+ is \[4, .*, and \[4, .*10"),
        ({"options": {"hidden_features": 10**9, "hidden_layers": 1}}, "is not a readable partinr model: .*overflow"),
        ({"options": {"hidden_features": 4, "hidden_layers": 10**12}}, "fewer weights than its header says"),
        ({"colour": "red"}, "its header says colour=red"),
        ({"regions": 5}, "its header says regions=5"),
    ):
        path = tmp_path / "x.safetensors"
        path.write_bytes(serialise("partinr", *parts(model(), **changes)))
        with pytest.raises(PartinrError, match=says) as caught:
            PiecewiseINR.load(path)
        assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize("version", [1, 2])
def test_files_from_before_there_was_a_checksum(version: int, tmp_path: Path) -> None:
    own = model()
    header, tensors = parts(own, format=version)
    if version == 1:
        del header["widths"]
    kept = {name: value.detach() for name, value in tensors.items()}
    path = tmp_path / "x.safetensors"
    path.write_bytes(save(kept, {"partinr": json.dumps(header)}))
    assert PiecewiseINR.load(path).to_bytes() == own.to_bytes()
    # One of today's is not taken without.
    path.write_bytes(save(kept, {"partinr": json.dumps({**header, "format": FORMAT})}))
    with pytest.raises(PartinrError, match="its checksum is another; take another copy"):
        PiecewiseINR.load(path)


def test_an_option_that_came_later_has_its_default(tmp_path: Path) -> None:
    own = model()
    header, tensors = parts(own)
    del header["options"]["weight_scale"]
    (tmp_path / "x.safetensors").write_bytes(serialise("partinr", header, tensors))
    assert PiecewiseINR.load(tmp_path / "x.safetensors").backbone == own.backbone


def test_double_precision_stays_double(tmp_path: Path) -> None:
    own = model().double()
    (tmp_path / "x.safetensors").write_bytes(own.to_bytes())
    loaded = PiecewiseINR.load(tmp_path / "x.safetensors")
    assert {value.dtype for value in loaded.stack.values()} == {torch.float64}
    assert torch.equal(loaded.render(3), own.render(3))


def test_code_of_others_is_imported_only_where_it_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(serialise("partinr", *parts(model(), backbone="own_backbone_of_a_test.Own")))
    (tmp_path / "own_backbone_of_a_test.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    for trusted in ("", "another", "own_backbone_of_a_test.Own"):
        monkeypatch.setenv("PARTINR_TRUST", trusted)
        with pytest.raises(PartinrError, match="no code is imported because a file names it"):
            PiecewiseINR.load(path)
    assert not Path("imported").exists()
    monkeypatch.setenv("PARTINR_TRUST", "another, own_backbone_of_a_test")
    try:
        assert type(PiecewiseINR.load(path).backbone).__name__ == "Own"
        assert Path("imported").exists()
        # Once it is imported there is nothing to ask.
        monkeypatch.delenv("PARTINR_TRUST")
        assert PiecewiseINR.load(path).render().shape == (6, 8, 3)
    finally:
        sys.modules.pop("own_backbone_of_a_test", None)


def test_a_plugin_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "it-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: it\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[partinr.plugins]\nit = plugin_of_a_test\n")
    package = tmp_path / "plugin_of_a_test"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "models.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    path = tmp_path / "x.safetensors"
    path.write_bytes(serialise("partinr", *parts(model(), backbone="plugin_of_a_test.models.Own")))
    try:
        assert type(PiecewiseINR.load(path).backbone).__name__ == "Own"
    finally:
        for name in ("plugin_of_a_test", "plugin_of_a_test.models"):
            sys.modules.pop(name, None)

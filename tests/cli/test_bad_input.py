"""Bad input: one line that says what is wrong and what to do, exit code 2, no traceback, no training, nothing lost."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from partinr.regimes import FitModule
from partinr.runs.layout import CHECKPOINT

RUNS = r"""
# the root
seed=???                                            -> option seed is missing; give seed=VALUE
engine=fused backbone=relu_pe backbone.hidden_features=2 -> engine=fused is for .*, not for relu_pe; choose
engine=fused trainer.precision=64-true              -> engine=fused has no double precision; choose
partition.regions=auto backbone.hidden_features=4   -> partition.regions=auto follows from .*; give backbone.match
engine=grouped                                      -> engine=grouped is gone; engine=batched does the same
engine=tcnn                                         -> engine=tcnn is gone; engine=auto
zoom=2                                              -> unknown option zoom; partinr --cfg job
+zoom=2                                             -> unknown option zoom; there are: .*max_steps
+seed=1                                             -> seed is there already; .*seed=VALUE
debug=loud                                          -> there is no debug=loud; choose from trace
# data
data=movie                                          -> there is no data=movie; choose from audio, .*image
data=5                                              -> there is no data=5; choose from audio, .*image
data=image                                          -> option data.path is missing; give data.path=VALUE
data.path=missing.png                               -> no such file: 'missing.png'; check the path
data.path=PICTURES                                  -> is a folder, not an image; name one file
data.path=PICTURES/text.png                         -> text.png' is not an image .*; give one of PNG
data.path=PICTURES/alpha.png                        -> alpha.png' is transparent .*; .*data.alpha=white
data.name=astronout                                 -> no built-in image 'astronout'; did you mean astronaut\?
data=builtin data.path=PICTURES/good.png            -> data=builtin has no effect beside data.path=.*; leave out one
data=image data.path=PICTURES/good.png data.name=camera -> data.name=camera has no effect beside data.path=.*; leave
data=builtins data.path=PICTURES                    -> data=builtins has no effect beside data.path=.*; leave out one
data.pth=PICTURES/good.png                          -> unknown option data.pth; did you mean data.path\?
partitoin.path=m.png                                -> unknown option partitoin.path; did you mean partition.path\?
"data.path=~/nowhere (1).png"                       -> no such file: '/.*/nowhere \(1\).png'; check
# partition
partition=voronoi                                   -> there is no partition=voronoi; choose from .*grid, .*superpixel
partition.regions=257                               -> partition.regions=257 is more than the 256 samples .*; give fewer
partition.regions=17                                -> partition.regions=17 .*; the next smaller that has is 16
partition.rows=2                                    -> partition.regions excludes partition.rows .*; give one
partition=none                                      -> partition.regions is an option of .*=grid, .*; choose
partition=mask                                      -> option partition.path is missing; give partition.path=VALUE
partition=mask partition.path=missing.png           -> no such file: 'missing.png'; check
partition=mask partition.path=PICTURES/text.png     -> text.png' is not a label map .*; give a PNG
partition=mask partition.path=PICTURES              -> has no label map for the image astronaut; put astronaut.png,
partition=mask partition.path=mask.npy              -> mask.npy': .* 24×20 pixels, the image astronaut 512×512; give
partition=smp                                       -> partition=smp has no network; give partition.model=
partition=smp partition.model=no/such-model         -> no/such-model is no folder here, .*; check the name, or download
partition=experts partition.pretrain=voronoi        -> there is no rule partition.pretrain=voronoi; choose .*null
partition=experts cache_dir=null                    -> match_params=500 .*: partition=experts alone has 8772 .*; give
partition=soft_cells trainer.devices=2 cache_dir=null -> soft_cells is trained in one .*; give trainer.devices=1
partition=soft_cells overlap=1 cache_dir=null       -> partition=soft_cells has weights of its own; give overlap=0
partition=soft_cells regime=threshold               -> partition=soft_cells is for regime=fit; choose another
# backbone
backbone.match_params=3                             -> backbone.match_params=3 is too few: .*; give more
backbone=relu_pe backbone.omega_0=30                -> backbone.omega_0 is an option of .*=finer, .* only; choose
# regime
regime=mta                                          -> there is no regime=mta; choose from fit, meta
regime=meta                                         -> regime=meta learns from many signals, .*; choose data=folder
regime.points_per_step=257                          -> regime.points_per_step=257 is more than the 256 .*; give fewer
sampler=error                                       -> sampler=error is about .*; give regime.points_per_step or
sampler=evos regime=threshold                       -> sampler=evos is for regime=fit; leave it out
sampler=int regime.coarse_until=0.5                 -> regime.coarse_until=0.5 takes .*; give regime.coarse_until=0, or
sampler=nint overlap=1                              -> sampler=nint draws for .*; choose sampler=uniform, or give
sampler=evos observe=radon                          -> observe=radon needs .*; give sampler=uniform
sampler=nint sampler.random=0.9                     -> sampler.kernel=0.3 and sampler.random=0.9 are parts .*; give less
sampler=evos regime.sampling=error                  -> regime.sampling=error and sampler both choose; leave out
# optimizer
optimizer=lbfgs                                     -> there is no optimizer=lbfgs; choose from adam, adamw, muon
optimizer.name=sgd                                  -> optimizer sgd takes no betas, eps; choose .*optimizer=sgd
optimizer.options.eps=-1                            -> optimizer adam refuses .* epsilon .*; see optimizer.options
optimizer=muon backbone=wire                        -> optimizer muon is for .*, and backbone wire has none .*; choose
# schedule
# trainer, callbacks
callbacks=null                                      -> callbacks=null names no choice; choose from default
# checkpoints
ckpt_path=missing.ckpt                              -> ckpt_path=missing.ckpt does not exist; give
ckpt_path=damaged.ckpt                              -> ckpt_path=damaged.ckpt is no partinr checkpoint
ckpt_path=CHECKPOINT backbone.match_params=900  -> ckpt_path=.* its options.hidden_features is .*; give
ckpt_path=CHECKPOINT data.name=camera           -> it was fitted to astronaut.png, and camera.png is another .*; give
ckpt_path=CHECKPOINT seed=1                         -> ckpt_path=.* its seed is 0, here .* 1; give
# places
hydra.run.dir=file                                  -> file: File exists; choose another with hydra.run.dir
hydra.run.dir=file/below                            -> file/below: Not a directory; choose another with hydra.run.dir
hydra.run.dir=/proc/partinr                         -> /proc/partinr: .*; choose another with hydra.run.dir
-m seed=0,1 hydra.sweep.dir=file/below              -> file/below: Not a directory; choose another with hydra.sweep.dir
# words
reprot                                              -> cannot read 'reprot': .*; did you mean partinr report\?
PICTURES                                            -> cannot read '.*': .*; did you mean data=folder data.path=.*\?
PICTURES/good.png b.png                             -> a run fits one image; to fit each of several: partinr -m .*,b.png
nowhere.png schedule.warmup_steps=0                  -> no such file: 'nowhere.png'; check the path
data=nowhere.png                                    -> no such file: 'nowhere.png'; check the path
data.path=two words                                 -> cannot read 'words': .*; put quotes around
data.path=a.png,b.png                               -> several values; add -m .*: data.path="'a.png,b.png'"$
data.path=a,b=c.png                                 -> several values; .*: data.path="'a,b=c.png'"$
seed=0,1                                            -> seed has several values; add -m to run each of them$
logger=csv,tensorboard                              -> several values; add -m .* in brackets: logger=\[csv,tensorboard
schedule=[cosine,constant]                          -> schedule takes one choice; give schedule=cosine or schedule=cons
data.size='${nothing}'                              -> refers to 'nothing', which is not there; set it
--fast                                              -> unrecognized arguments: --fast; see partinr --help
--cfg everything                                    -> --cfg/-c: invalid choice: 'everything' .*; see partinr --help
--config-dir nowhere                                -> no folder .*nowhere; give --config-dir one that is there
-m seed=0,1 zoom=2                                  -> unknown option zoom; partinr --cfg job
-m partition=none,grid optimizer.lrr=1              -> unknown option optimizer.lrr; did you mean optimizer.lr\?
"""

COMMANDS = r"""
resume                                              -> RUN'; see partinr resume --help
resume nowhere                                      -> nowhere does not exist; give a run directory
resume PICTURES                                     -> is not a run directory: it has no run.json
resume FINISHED                                     -> is completed; to make it longer: .*ckpt_path=
resume FINISHED --fast                              -> No such option '--fast'.*; see partinr resume --help
render FINISHED                                     -> Missing option '-o' / '--output'; see partinr render --help
render nowhere -o x.png                             -> nowhere does not exist; give a run directory
render PICTURES -o x.png                            -> is not a run directory: it has no run.json
render FINISHED -o x.jpg                            -> cannot write x.jpg; give a file that ends in .png
render FINISHED -o file/x.png                       -> cannot write file/x.png: .*; choose another with -o
render FINISHED -o folder.png                       -> cannot write folder.png: .*; choose another with -o
render FINISHED -o x.png --scale big                -> '--scale': 'big' is not a valid float; see partinr render --help
render FINISHED -o x.png --scale 0                  -> scale
render FINISHED -o x.png --scale -1                 -> scale
render FINISHED -o x.png --scale nan                -> scale
render FINISHED -o x.png --scale 1e9                -> --scale 1e\+09 makes .* pixels; give sides of up to 1,000,000
render FINISHED -o x.png --scale 1e30               -> give sides of up to 1,000,000
render FINISHED -o x.png --size 1,1000001           -> --size 1,1000001 makes 1×1,000,001 pixels; give sides of up to
render FINISHED -o x.png --size 10x10               -> --size 10x10 is no size; give height and width
render FINISHED -o x.png --size 0,10                -> cannot render on a grid of \[0, 10\]; give
render FINISHED -o x.png --size 8,8 --scale 2       -> --scale and --size both say .*; give one of them
render FINISHED -o x.png --crop 4,4                 -> --crop 4,4 is no part of an image; give rows and columns
render FINISHED -o x.png --crop 0:17,0:8            -> the crop 0:17,0:8 is no part of .*; give one within 0:16,0:16
render FINISHED -o x.png --crop 4:4,0:8             -> the crop 4:4,0:8 is no part of .*; give one within
render FINISHED -o x.png --depth float              -> x.png cannot hold pixels of depth float; give .* .tif or .tiff or
render FINISHED -o x.png --depth 12                 -> '--depth': '12' is not one of .*; see partinr render --help
render FINISHED -o x.png --show curl                -> '--show': 'curl' is not one of .*; see partinr render --help
render FINISHED -o x.png --range 1                  -> --range is for --show gradient or laplacian .*; leave it out
render FINISHED -o x.npy --show gradient --range 1  -> --range is for --show gradient or laplacian .*; leave it out
render FINISHED -o x.png --show gradient --range 0  -> --range 0 is no range; give a number above 0
report                                              -> RUN_OR_SWEEP...'; see partinr report --help
report nowhere                                      -> nowhere does not exist; give a run directory
report PICTURES                                     -> no run found in .*; a run directory is
report FINISHED -o file/x.html                      -> file
report FINISHED -o folder.png                       -> folder.png
partitions                                          -> IMAGE.*; see partinr partitions --help
partitions grid.rows=2 grid.cols=2                  -> there is no image; give a file
partitions astronaut seed=1                         -> cannot read 'seed=1'; give an image, or RULE.KEY=VALUE
partitions missing.png                              -> no such file: 'missing.png'; check the path
partitions PICTURES/alpha.png                       -> alpha.png' is transparent .*; .*data.alpha=white
partitions astronaut --size 4 --max-side 4          -> --size excludes --max-side; give one
partitions astronaut --regions 2,0                  -> --regions=2,0: should be whole numbers
partitions astronaut --regions 5 --size 2 --rules grid  -> astronaut, grid #5: --regions=5 is more than .*; give fewer
partitions astronaut --rules grid,voronoi           -> there is no rule 'voronoi'; choose from .*grid, .*superpixel
partitions astronaut --rules mask                   -> the option mask.path is missing; give mask.path=VALUE
partitions astronaut --rules grid semantic.merge=x  -> semantic has an option but is not in --rules=grid; add it
partitions astronaut semantic.merg=x                -> unknown option semantic.merg; did you mean semantic.merge\?
partitions astronaut semantic.merge=smallest,x      -> semantic.merge=smallest,x has several values; give one
partitions astronaut semantic.fewer=stop --size 2 --rules semantic -> fewer with --regions, or .* semantic.fewer=
partitions astronaut --config-dir nowhere           -> 'nowhere' does not exist; see partinr partitions --help
partitions astronaut -o x.jpg                       -> cannot write x.jpg; give a file that ends in .png or .pdf
partitions astronaut -o folder.png --rules grid     -> cannot write folder.png: .*; choose another with -o
doctor now                                          -> unexpected extra argument \(now\); see partinr doctor --help
"""


def rows(table: str) -> dict[str, list[tuple[str, str]]]:
    """What is typed and what is said, by the heading above it, or by the command."""
    found: dict[str, list[tuple[str, str]]] = {}
    heading = ""
    for line in filter(None, table.splitlines()):
        if line.startswith("# "):
            heading = line.removeprefix("# ")
            continue
        typed, _, said = line.partition(" -> ")
        found.setdefault(heading or typed.split()[0], []).append((typed.strip(), said.strip()))
    return found


@pytest.fixture(autouse=True)
def _no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("training has begun")

    monkeypatch.setattr(FitModule, "training_step", refuse)


@pytest.fixture
def words(finished: Path, pictures: Path) -> Callable[[str], list[str]]:
    """The arguments that a row of a table stands for, in a folder with what they name."""
    Path("file").write_text("in the way")
    Path("folder.png").mkdir()
    np.save("mask.npy", np.zeros((24, 20), dtype=np.int64))
    Path("damaged.ckpt").write_bytes((finished / CHECKPOINT).read_bytes()[:-100])

    def split(command: str) -> list[str]:
        for name, path in (("PICTURES", pictures), ("CHECKPOINT", finished / CHECKPOINT), ("FINISHED", finished)):
            command = command.replace(name, str(path))
        return shlex.split(command)

    return split


def check(answer: Any, said: str) -> None:
    """One line with what was expected and a cure; code 2."""
    assert answer.err.count("\n") == 1, answer.err
    assert re.match(rf"partinr: error: .*{said}", answer.err), answer.err
    assert re.search(r"; .|: should be |it has no run.json", answer.err), "no cure"
    assert (answer.code, answer.out) == (2, "")


@pytest.mark.parametrize("cases", rows(RUNS).values(), ids=rows(RUNS))
def test_a_run_is_refused(cases: list[tuple[str, str]], words: Any, tiny: Any, contents: Any) -> None:
    before = contents(Path())
    for command, said in cases:
        check(tiny("hydra.run.dir=run", "hydra.sweep.dir=sweep", *words(command)), said)
        after = {name: content for name, content in contents(Path()).items() if not name.startswith("sweep")}
        assert after == before, command
        assert not list(Path().rglob("run.json")), command


@pytest.mark.parametrize("cases", rows(COMMANDS).values(), ids=rows(COMMANDS))
def test_a_command_is_refused(
    cases: list[tuple[str, str]], words: Any, partinr: Any, contents: Any, finished: Path
) -> None:
    before = contents(Path()), contents(finished)
    for command, said in cases:
        check(partinr(*words(command)), said)
        assert (contents(Path()), contents(finished)) == before, command


def test_the_usual_place_stays_empty(tiny: Any) -> None:
    assert tiny("seed=-1").code == 2
    assert not [path for path in Path().rglob("*") if not path.is_dir()]
    assert not list(Path().glob("outputs/runs/*"))


def test_a_start_has_no_folder_before_its_first_file(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(settings: Any, folder: Path, overrides: Any) -> None:
        assert not folder.exists()
        raise KeyboardInterrupt

    monkeypatch.setattr("partinr.experiment.execute.execute", killed)
    assert (tiny().code, list(Path().glob("outputs/runs/*"))) == (130, [])
    assert "max_steps=-3: should be greater" in tiny("max_steps=-3", "hydra.job.chdir=true").err


def test_the_folder_one_is_in_is_not_removed(tiny: Any) -> None:
    assert tiny("seed=-1", "hydra.run.dir=.").code == 2
    assert Path.cwd().exists()


def test_a_run_is_not_overwritten(tiny: Any, finished: Path, copy_of: Any, contents: Any) -> None:
    run = copy_of(finished)
    before = contents(run)
    said = rf"{run} already holds a run; give another hydra.run.dir, or delete it$"
    check(tiny("max_steps=5", f"hydra.run.dir={run}"), said)
    assert contents(run) == before


def test_a_sweep_is_not_overwritten(tiny: Any, finished: Path, contents: Any, tmp_path: Path, copy_of: Any) -> None:
    for number in range(2):
        copy_of(finished).rename(tmp_path / f"sweep-{number}")
    before = contents(tmp_path)
    answer = tiny("-m", "seed=1,2", f"hydra.sweep.dir={tmp_path}", "hydra.sweep.subdir=sweep-${hydra.job.num}")
    assert answer.code == 2
    assert answer.err.count("already holds a run") == answer.err.count("\n") == 2
    assert {name: content for name, content in contents(tmp_path).items() if name != "multirun.yaml"} == before


def test_every_job_of_a_sweep_is_refused_with_a_line(tiny: Any) -> None:
    answer = tiny("-m", "seed=-1,-2", "hydra.sweep.dir=sweep")
    assert (answer.code, answer.out) == (2, "")
    assert [line.partition(": should")[0] for line in answer.err.splitlines()] == [
        "partinr: error: seed=-1",
        "partinr: error: seed=-2",
    ]
    assert not list(Path("sweep").rglob("run.json"))


def test_debug_trace_shows_the_traceback(tiny: Any) -> None:
    for arguments in [("seed=-1",), ("colour=red",), ("-m", "seed=-1,-2"), ("data=movie",)]:
        answer = tiny(*arguments, "debug=trace", "hydra.run.dir=run", "hydra.sweep.dir=sweep")
        assert answer.code != 0
        assert "Traceback (most recent call last)" in answer.err


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("run.json", "", "cannot read .*run.json"),
        ("run.json", "[]", "is not a partinr manifest"),
        ("run.json", '{"status": "interrupted", "format": 2}', "newer partinr; update partinr"),
        (".hydra/config.yaml", None, "cannot read .*config.yaml"),
        (".hydra/config.yaml", "[1, 2]", "config.yaml is damaged"),
        (".hydra/config.yaml", "seed: 0", "data=None is no configuration; choose one"),
    ],
)
def test_a_damaged_run_is_not_resumed(
    partinr: Any, finished: Path, copy_of: Any, name: str, content: str | None, said: str
) -> None:
    run = copy_of(finished)
    (run / "run.json").write_text(json.dumps({"status": "interrupted", "format": 1}))
    if content is None:
        (run / name).unlink()
    else:
        (run / name).write_text(content)
    answer = partinr("resume", run)
    assert answer.code == 2
    assert re.fullmatch(rf"partinr: error: .*{said}.*\n", answer.err)


def test_a_damaged_checkpoint_is_not_resumed_from(partinr: Any, finished: Path, copy_of: Any, contents: Any) -> None:
    run = copy_of(finished)
    (run / "run.json").write_text(json.dumps({"status": "interrupted", "format": 1}))
    (run / CHECKPOINT).write_bytes((run / CHECKPOINT).read_bytes()[:-1000])
    before = contents(run)
    answer = partinr("resume", run)
    assert answer.code == 2
    assert re.fullmatch(r"partinr: error: no checkpoint in .* is sound; to start this run again, .*\n", answer.err)
    assert contents(run) == before


def test_a_damaged_model_is_not_rendered(partinr: Any, finished: Path, copy_of: Any) -> None:
    run = copy_of(finished)
    weights = run / "inr.safetensors"
    for damage in (weights.read_bytes()[:200], b"", torch.zeros(9).numpy().tobytes()):
        weights.write_bytes(damage)
        answer = partinr("render", run, "-o", "x.png")
        assert answer.code == 2
        assert re.fullmatch(r"partinr: error: .*inr.safetensors is not a readable partinr model: .*\n", answer.err)
    weights.unlink()
    assert "inr.safetensors does not exist; " in partinr("render", run, "-o", "x.png").err
    assert not Path("x.png").exists()

"""The paper's protocol at its image size: one SIREN, and nine on a grid or by semantics, in 1,500 steps."""

from __future__ import annotations

from pathlib import Path

import skimage.data
from part import Job, cut, head, row
from PIL import Image

CASES = {
    # By worth: the single network takes nine times the time, and may be cut.
    "PoG#9": ("partition=grid", "partition.regions=9", "backbone.hidden_features={nine}"),
    "PoS#9": ("partition=semantic", "partition.regions=9", "backbone.hidden_features={nine}"),
    "none": ("partition=none", "backbone.hidden_features={lone}"),
}


def main(job: Job) -> None:
    """Print a row for each partition."""
    steps, widths = (20, {"nine": 8, "lone": 24}) if job.tiny else (1500, {"nine": 170, "lone": 512})
    name, file = picture(job)
    print(f"{name}, {steps:,} steps in single precision.\n")
    head("partition", "parameters", "steps", "training s", "ms a step", "PSNR dB", "SSIM", "evaluation s")
    left_out = []
    for case, overrides in CASES.items():
        seconds = job.left - (2 if job.tiny else 12)  # the label map, evaluations and files come on top
        if seconds <= 0:
            left_out.append(case)
            continue
        with job.attempt(case):
            words = [each.format(**widths) for each in overrides]
            words += [f"data.path={file}", f"max_steps={steps}", f"max_seconds={seconds:.1f}"]
            run = job.run("experiment=paper_siren", "data=image", *words)
            last = run.curve[-1]
            if last["step"] < steps:
                left_out.append(f"{case} after {last['step']:.0f} steps")
            row(
                case,
                f"{run.facts['parameters']:,}",
                f"{last['step']:.0f}",
                f"{last['seconds']:.1f}",
                f"{1e3 * last['seconds'] / last['step']:.2f}",
                f"{last['psnr']:.2f}",
                f"{run.facts['metrics']['ssim']:.3f}",
                f"{run.facts['seconds']['evaluation']:.1f}",
            )
    if left_out:
        cut(", ".join(left_out))


def picture(job: Job) -> tuple[str, Path]:
    """The first image at the paper's size: its name, and a file."""
    side = (60, 42) if job.tiny else (1000, 700)
    file = next(iter(job.files()), None)
    image = Image.fromarray(skimage.data.astronaut()) if file is None else Image.open(file).convert("RGB")
    made = Path("picture.png").resolve()
    image.resize(side, Image.Resampling.LANCZOS).save(made)
    return f"{'astronaut' if file is None else file.stem} at {side[0]}×{side[1]}", made

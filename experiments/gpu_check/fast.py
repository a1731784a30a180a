"""How far `experiment=fast` gets on whole images: mean PSNR after budgets of training, each a run of its own."""

from __future__ import annotations

import statistics

from part import Job, cut, head, row

BUDGETS = (2.2, 1.0, 0.3, 0.1)
"""Seconds of training, by worth."""


def main(job: Job) -> None:
    """Print a row for each budget."""
    sources = job.sources(1 if job.tiny else 24)
    parameters = 2_000 if job.tiny else 500_000
    words = ["experiment=fast", f"backbone.match_params={parameters}", "regime.evaluate_every=1000000"]
    words += ["data.max_side=48"] if job.tiny else []
    # Compiles and loads kernels, and grows the allocator's pool.
    job.run(*words, *sources[0][1], "max_seconds=0.1")
    print(f"{parameters:,} parameters, {len(sources)} images of {'a folder' if job.images else 'those built in'}.\n")
    head("training s", "images", "mean PSNR dB", "least", "most", "steps", "ms a step")
    for budget in [each / 10 for each in BUDGETS] if job.tiny else BUDGETS:
        psnrs: list[float] = []
        steps: list[float] = []
        seconds: list[float] = []
        for _, source in sources:
            if job.left < budget + 3 and psnrs:
                break
            if job.left < budget:
                cut(f"{budget} s and the smaller budgets")
                return
            curve = job.run(*words, *source, f"max_seconds={budget}").curve
            psnrs.append(curve[-1]["psnr"])
            steps.append(curve[-1]["step"])
            seconds.append(curve[-1]["seconds"])
        mean = statistics.mean(psnrs)
        took = 1e3 * sum(seconds) / sum(steps)
        row(
            f"{budget:g}",
            f"{len(psnrs)} of {len(sources)}",
            f"{mean:.2f}",
            f"{min(psnrs):.2f}",
            f"{max(psnrs):.2f}",
            f"{statistics.mean(steps):.0f}",
            f"{took:.2f}",
        )

"""One experiment of learning to learn: second-order MAML on strings, four regions in both phases."""

from __future__ import annotations

from part import Job, head, row


def main(job: Job) -> None:
    """Print the row of the run."""
    seconds = 0.5 if job.tiny else max(5.0, min(20.0, job.left - 12))
    words = [
        "experiment=meta_text_both_grid",
        "max_steps=null",
        f"max_seconds={seconds}",
        "regime.evaluate_every=1000000",
    ]
    if job.tiny:
        words += ["data.size=16", "data.train_items=16", "data.val_items=2", "backbone.hidden_features=8"]
    run = job.run(*words)
    first, last = run.curve[0], run.curve[-1]
    print("`experiment=meta_text_both_grid`; PSNR of held-out strings after the inner steps.\n")
    head("parameters learned", "outer steps", "training s", "ms an outer step", "PSNR dB before", "after")
    row(
        f"{run.facts['parameters_learned']:,}",
        f"{last['step']:.0f}",
        f"{last['seconds']:.1f}",
        f"{1e3 * last['seconds'] / last['step']:.1f}",
        f"{first['psnr']:.2f}",
        f"{last['psnr']:.2f}",
    )

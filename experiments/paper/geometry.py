"""Does a 3:2 image rank the rows of the paper's table as its square crop does?

    python experiments/paper/geometry.py WHOLE SQUARE

Two sweeps over the same images, of the whole images and of their square crops; prints both PSNR of each row, mean
and standard deviation over seeds, its place in either ranking, and Kendall's tau between the two.
"""

from __future__ import annotations

import sys

from scipy.stats import kendalltau

from partinr.report import collect
from partinr.report.groups import Group, Study


def groups_of(folder: str) -> dict[tuple[str, str], Group]:
    """The groups of a sweep, by the image's name and their own."""
    return {(group.image, group.label): group for group in Study.of(collect([folder])).groups}


def psnr(group: Group) -> float:
    """Mean PSNR at the end, over seeds."""
    mean = group.stat(lambda record: record.final("psnr")).mean
    assert mean is not None
    return mean


def said(group: Group, place: int) -> str:
    """PSNR and place of a group."""
    std = group.stat(lambda record: record.final("psnr")).std
    return f"{psnr(group):.2f}" + (f" ± {std:.2f}" if std is not None else "") + f" ({place})"


def main(whole: str, square: str) -> None:
    """Print the table, and tau for each image."""
    found = [groups_of(folder) for folder in (whole, square)]
    print("| image | group | whole, PSNR dB (place) | square crop, PSNR dB (place) |\n|---|---|---:|---:|")
    taus = {}
    for image in dict.fromkeys(name for name, _ in found[0]):
        labels = [label for name, label in found[0] if name == image]
        means = [[psnr(groups[image, label]) for label in labels] for groups in found]
        taus[image] = kendalltau(*means).statistic
        for place, label in enumerate(labels):
            cells = [
                said(groups[image, label], 1 + sorted(of, reverse=True).index(of[place]))
                for groups, of in zip(found, means, strict=True)
            ]
            print(f"| {image} | {label} | {' | '.join(cells)} |")
    print("\nKendall's tau: " + ", ".join(f"{image} {tau:.2f}" for image, tau in taus.items()))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])

"""Images of the published shape, from photographs: the centre, 10:7 as the paper's, at the sizes of the study.

    python experiments/published_claim/images.py IMAGE... --output outputs/published_claim/images

writes OUTPUT/SIZE/NAME.png for each size. Upright images stay upright.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image

SIZES = {"full": (1000, 700), "half": (500, 350), "quarter": (250, 175), "seventh": (143, 100)}
"""Pixels along the longer and the shorter side."""


def main() -> None:
    """Write the images."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    parser.add_argument("--output", type=Path, default=Path("outputs/published_claim/images"))
    given = parser.parse_args()
    for path in given.images:
        with Image.open(path) as opened:
            image = opened.convert("RGB")
        upright = image.height > image.width
        long, short = max(image.size), min(image.size)
        kept = (min(long, short * 10 / 7), min(short, long * 7 / 10))
        width, height = kept[::-1] if upright else kept
        left, top = (image.width - width) / 2, (image.height - height) / 2
        for name, size in SIZES.items():
            folder = given.output / name
            folder.mkdir(parents=True, exist_ok=True)
            resized = image.resize(
                size[::-1] if upright else size, Image.Resampling.LANCZOS, (left, top, left + width, top + height)
            )
            resized.save(folder / f"{path.stem}.png")


if __name__ == "__main__":
    main()

"""OpenCV's HFS in a process of its own: an image on the standard input, labels on the standard output.

Run as a file, by :mod:`partinr.partition.semantic`, so that it imports nothing but NumPy and OpenCV and starts in a
fraction of a second. HFS is C++ that may write beyond its arrays; what it takes along is then this process alone.
"""

import io
import json
import os
import sys

import numpy as np


def main() -> None:
    """Read ``.npy`` bytes (uint8 ``[H, W, 3]``, BGR), write ``.npy`` bytes (uint16 ``[H, W]``)."""
    # The standard output is the labels' alone: what OpenCV logs there (with OPENCV_LOG_LEVEL=INFO and below, from its
    # import on) goes to the standard error.
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    import cv2

    options = json.loads(sys.argv[1])
    image = np.load(io.BytesIO(sys.stdin.buffer.read()), allow_pickle=False)
    # OpenCV's stubs leave out its contributed modules.
    engine = cv2.hfs.HfsSegment_create(image.shape[0], image.shape[1], **options)  # type: ignore[attr-defined]
    labels = engine.performSegmentCpu(image, False)
    buffer = io.BytesIO()
    np.save(buffer, labels, allow_pickle=False)
    with answer:
        answer.write(buffer.getvalue())


if __name__ == "__main__":
    try:
        main()
    except Exception as error:
        # OpenCV's messages take several lines.
        sys.exit(" ".join(f"{type(error).__name__}: {error}".split()))

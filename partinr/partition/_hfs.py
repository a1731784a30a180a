"""A program that segments the image on its standard input with OpenCV's HFS, and writes the labels to its output.

:mod:`partinr.partition.semantic` runs it as a file, so that it imports NumPy and OpenCV only and starts in a fraction
of a second. It is a process of its own because HFS may write beyond its arrays and crash.
"""

import io
import json
import os
import sys

import numpy as np


def main() -> None:
    """Read a BGR image as ``.npy`` (uint8 ``[H, W, 3]``), write labels as ``.npy`` (uint16 ``[H, W]``)."""
    # The standard output is for the labels alone. OpenCV may log there from its import on (OPENCV_LOG_LEVEL=INFO and
    # below), so descriptor 1 now leads to the standard error.
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    import cv2

    options = json.loads(sys.argv[1])
    image = np.load(io.BytesIO(sys.stdin.buffer.read()), allow_pickle=False)
    # OpenCV's stubs lack the contributed modules.
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
        # OpenCV's messages span several lines.
        sys.exit(" ".join(f"{type(error).__name__}: {error}".split()))

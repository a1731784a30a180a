"""Before anything imports lightning: partinr mends a torchvision that was built for CUDA."""

import partinr  # noqa: F401

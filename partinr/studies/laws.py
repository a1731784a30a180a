"""Laws of growth of the steps with the number of boundaries."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


class Law(ABC):
    """A law of growth with unbounded parameters.

    Every law is positive from the smallest to the largest number of boundaries. Internally, boundaries are mapped to
    ``t``, 0 at the smallest and 1 at the largest number, and most parameters are logarithms of the steps at the ends.
    This scales all fits alike.
    """

    name: ClassVar[str]
    parameters: ClassVar[int]
    """Number of parameters, without sigma."""
    contains: ClassVar[frozenset[str]] = frozenset()
    """Names of laws that are special cases of this one."""

    @abstractmethod
    def log(self, theta: Numbers, boundaries: Numbers, low: float, high: float) -> tuple[Numbers, Numbers]:
        """The logarithm of the steps, and its derivatives.

        Args:
            theta: ``[parameters]``.
            boundaries: ``[n]``.
            low: smallest fitted number of boundaries.
            high: largest fitted number of boundaries.

        Returns:
            ``[n]`` and ``[n, parameters]``.
        """

    def start(self, ends: tuple[float, float, float]) -> list[Numbers]:
        """Starting points of the fit; several if it may get stuck. By default the logarithms at both ends.

        Args:
            ends: approximate logarithms of the steps at the smallest, middle and largest number of boundaries.
        """
        return [np.array([ends[0], ends[2]])]

    @abstractmethod
    def formula(self, theta: Numbers, low: float, high: float) -> str:
        """The law with its numbers, in terms of the boundaries b."""


class _LogLinear(Law):
    """A straight line in the logarithm of the steps over some scale of the boundaries."""

    parameters = 2

    @abstractmethod
    def scale(self, boundaries: Numbers) -> Numbers:
        """The scale."""

    def log(self, theta: Numbers, boundaries: Numbers, low: float, high: float) -> tuple[Numbers, Numbers]:
        """See :meth:`Law.log`."""
        first, last = self.scale(np.array([low, high]))
        t = (self.scale(boundaries) - first) / (last - first)
        slopes = np.stack([1 - t, t], axis=1)
        return slopes @ theta, slopes

    def slope(self, theta: Numbers, low: float, high: float) -> float:
        """Slope of the line."""
        first, last = self.scale(np.array([low, high]))
        return float((theta[1] - theta[0]) / (last - first))


class Exponential(_LogLinear):
    """``a · p^b``."""

    name = "exponential"

    def scale(self, boundaries: Numbers) -> Numbers:
        """The boundaries themselves."""
        return boundaries

    def formula(self, theta: Numbers, low: float, high: float) -> str:
        """See :meth:`Law.formula`."""
        slope = self.slope(theta, low, high)
        return f"{math.exp(theta[0] - slope * low):.4g} · {math.exp(slope):.4f}^b"


class Power(_LogLinear):
    """``a · b^k``."""

    name = "power law"

    def scale(self, boundaries: Numbers) -> Numbers:
        """The logarithm of the boundaries."""
        return np.log(boundaries)

    def formula(self, theta: Numbers, low: float, high: float) -> str:
        """See :meth:`Law.formula`."""
        slope = self.slope(theta, low, high)
        return f"{math.exp(theta[0] - slope * math.log(low)):.4g} · b^{slope:.3f}"


class Linear(Law):
    """``a + c · b``."""

    name = "linear"
    parameters = 2

    def log(self, theta: Numbers, boundaries: Numbers, low: float, high: float) -> tuple[Numbers, Numbers]:
        """See :meth:`Law.log`."""
        t = (boundaries - low) / (high - low)
        pieces = np.stack([(1 - t) * np.exp(theta[0]), t * np.exp(theta[1])], axis=1)
        steps = pieces.sum(axis=1)
        return np.log(steps), pieces / steps[:, None]

    def formula(self, theta: Numbers, low: float, high: float) -> str:
        """See :meth:`Law.formula`."""
        slope = (math.exp(theta[1]) - math.exp(theta[0])) / (high - low)
        return f"{math.exp(theta[0]) - slope * low:.4g} {slope:+.4g} b"


class Quadratic(Law):
    """``a + c · b + d · b²``.

    With the values A and B at the ends it is ``(sqrt(A) (1 - t) - sqrt(B) t)² + 2 w t (1 - t)``, which is positive
    between them exactly if w is above 0.
    """

    name = "quadratic"
    parameters = 3
    contains = frozenset({"linear"})

    def log(self, theta: Numbers, boundaries: Numbers, low: float, high: float) -> tuple[Numbers, Numbers]:
        """See :meth:`Law.log`."""
        t = (boundaries - low) / (high - low)
        left, right = (1 - t) * np.exp(theta[0] / 2), t * np.exp(theta[1] / 2)
        middle = 2 * t * (1 - t) * np.exp(theta[2])
        steps = (left - right) ** 2 + middle
        by_theta = np.stack([(left - right) * left, (right - left) * right, middle], axis=1)
        return np.log(steps), by_theta / steps[:, None]

    def start(self, ends: tuple[float, float, float]) -> list[Numbers]:
        """A straight line, and the parabola through the three points."""
        low, middle, high = ends
        line = 2 * math.log((math.exp(low / 2) + math.exp(high / 2)) / math.sqrt(2))
        # The value at t = 1/2 is (sqrt(A) - sqrt(B))² / 4 + w / 2.
        through = 2 * math.exp(middle) - (math.exp(low / 2) - math.exp(high / 2)) ** 2 / 2
        second = math.log(through) if through > 0 else line - 2
        return [np.array([low, high, line]), np.array([low, high, second])]

    def formula(self, theta: Numbers, low: float, high: float) -> str:
        """See :meth:`Law.formula`."""
        a, b, w = np.exp(theta)
        # In t: A + c t + d t².
        d = a + b + 2 * math.sqrt(a * b) - 2 * w
        c = b - a - d
        width = high - low
        square = d / width**2
        slope = c / width - 2 * square * low
        return f"{a - slope * low - square * low**2:.4g} {slope:+.4g} b {square:+.4g} b²"


class OffsetPower(Law):
    """``a + c · b^k``.

    It passes from the value at the smallest number of boundaries to that at the largest along ``s``, 0 … 1. With the
    logarithm of the boundaries scaled to ``x``, 0 … 1, and ``q = k · log(high / low)``, ``s = expm1(q x) / expm1(q)``,
    which stays finite for every k; k = 0 is a logarithm.
    """

    name = "offset power law"
    parameters = 3
    contains = frozenset({"linear", "power law"})

    def log(self, theta: Numbers, boundaries: Numbers, low: float, high: float) -> tuple[Numbers, Numbers]:
        """See :meth:`Law.log`."""
        span = math.log(high / low)
        x, q = np.log(boundaries / low) / span, float(theta[2]) * span
        if abs(q) < 1e-4:
            # Both quotients lose their digits, so they are replaced by their series.
            s, by_q = x + q * x * (x - 1) / 2, x * (x - 1) / 2 + q * x * (x - 1) * (2 * x - 1) / 6
        else:
            s = np.expm1(q * x) / np.expm1(q)
            by_q = x * (s + 1 / np.expm1(q)) - s * (1 + 1 / np.expm1(q))
        pieces = np.stack([(1 - s) * np.exp(theta[0]), s * np.exp(theta[1])], axis=1)
        steps = pieces.sum(axis=1)
        by_k = (np.exp(theta[1]) - np.exp(theta[0])) * by_q * span
        return np.log(steps), np.append(pieces, by_k[:, None], axis=1) / steps[:, None]

    def start(self, ends: tuple[float, float, float]) -> list[Numbers]:
        """Four exponents, since the likelihood may have several maxima."""
        return [np.array([ends[0], ends[2], exponent]) for exponent in (0.5, 1.0, 2.0, 4.0)]

    def formula(self, theta: Numbers, low: float, high: float) -> str:
        """See :meth:`Law.formula`."""
        k = float(theta[2])
        factor = (math.exp(theta[1]) - math.exp(theta[0])) / (high**k - low**k)
        return f"{math.exp(theta[0]) - factor * low**k:.4g} {factor:+.4g} · b^{k:.3f}"


LAWS: tuple[Law, ...] = (Exponential(), Power(), Quadratic(), Linear(), OffsetPower())

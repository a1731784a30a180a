"""Sine and cosine of a number, for kernels that numba vectorises by itself."""

# numba's decorators have no types.
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False, disallow-untyped-decorators=False

import math

import numpy as np

from partinr.engines._cached import kernel

_F = np.float32

# pi in three parts (Cody & Waite 1980), and 1 / pi. The first two parts have so few digits that their products with
# whole numbers are exact.
PI_1, PI_2, PI_3 = _F(3.140625), _F(0.0009670257568359375), _F(6.277114152908325e-7)
INVERSE_PI = _F(1 / math.pi)
# Added to a float32 of up to 2^22, it leaves the nearest whole number in the last bits.
WHOLE = _F(1.5 * 2**23)


@kernel()
def signed(x, sign):
    """A float32 with its sign flipped where the highest bit of the uint32 ``sign`` is set."""
    return np.uint32(_F(x).view(np.uint32) ^ sign).view(np.float32)


# Without "reassoc", which would merge the three steps of the reduction.
@kernel(fastmath={"contract"})
def sincos(x):
    """Sine and cosine of a float32, to 2e-7 for |x| up to 1e3, 5e-7 up to 1e4: minimax polynomials on [-pi/2, pi/2].

    From 2e5 on, single precision has hardly a digit of the angle, and the result is arbitrary.
    """
    shifted = x * INVERSE_PI + WHOLE
    k = shifted - WHOLE
    r = ((x - k * PI_1) - k * PI_2) - k * PI_3
    # A huge angle is reduced inaccurately, and a polynomial is unbounded. (Zero times NaN or infinity is NaN.)
    r = r * _F(abs(r) < _F(1.6))
    # Odd multiples of pi flip the sign, which is the highest bit.
    sign = np.uint32(_F(shifted).view(np.uint32) << np.uint32(31))
    q = r * r
    sine = r + r * q * (_F(-0.16666657) + q * (_F(8.333017e-3) + q * (_F(-1.9806609e-4) + q * _F(2.6000395e-6))))
    cosine = _F(1) + q * (
        _F(-0.5) + q * (_F(4.1666642e-2) + q * (_F(-1.3888404e-3) + q * (_F(2.4761879e-5) + q * _F(-2.6076961e-7))))
    )
    return signed(sine, sign), signed(cosine, sign)

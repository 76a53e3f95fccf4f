"""Two float32 functions as the Eigen library computes them, to the last bit, without fused multiply-add.

LiteRT's recurrent ops call them. The coefficients are those of Eigen's approximations.

Source: Eigen ``src/Core/arch/Default/GenericPacketMathFunctions.h`` (ptanh_float),
``src/Core/functors/UnaryFunctors.h`` (scalar_logistic_op).
"""

from __future__ import annotations

import numpy as np

from qmath.types import BoolArray, Float32Array

#: Floats that Eigen handles at once.
PACKET = 4

#: tanh(x) is 1 in float32 from here on.
_TANH_END = np.float32(7.90738964080810547)
_TANH_ODD = np.array([1.394553628e-8, 2.102733560e-5, 3.520756727e-3, 1.340216100e-1], np.float32)
_TANH_EVEN = np.array([8.015776984e-7, 3.326951409e-4, 2.597254514e-2, 4.673548340e-1, 1.0], np.float32)

#: The logistic function is 1 from here on, and 0 below the other.
_LOGISTIC_END = np.float32(16.6355324)
_LOGISTIC_START = np.float32(-104)
_LOG2_E = np.float32(1.44269504088896341)
#: ln(2) as a sum, the first part with few bits.
_LN2_HIGH, _LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
_EXP_SQUARE, _EXP_CUBE, _EXP_FOURTH, _EXP_FIFTH = np.array(
    [0.49999141693115234375, 0.16666877269744873046875, 4.1898667812347412109375e-2, 8.33471305668354034423828125e-3],
    np.float32,
)


def tanh(x: Float32Array) -> Float32Array:
    """Compute tanh by a rational function: ``(x + x**3 * p(x**2)) / q(x**2)``."""
    x = np.clip(x, -_TANH_END, _TANH_END)
    square = x * x
    numerator = square * x * _polynomial(square, _TANH_ODD) + x
    return np.asarray(numerator / _polynomial(square, _TANH_EVEN), np.float32)


def logistic(x: Float32Array, packed: BoolArray) -> Float32Array:
    """Compute 1 / (1 + e**-x).

    Parameters
    ----------
    x
        float32, any shape.
    packed
        Which elements are handled in packets (see :func:`in_packets`): they follow another formula than the others.

    """
    return np.where(packed, _packet_logistic(x), _scalar_logistic(x))


def in_packets(length: int, offset: int) -> BoolArray:
    """Tell which elements of a buffer are handled in packets: the whole ones among those aligned in memory.

    Parameters
    ----------
    length
        Elements of the buffer.
    offset
        Where it begins in an aligned block of memory, in elements.

    """
    index = np.arange(length)
    start = -offset % PACKET
    end = start + (length - start) // PACKET * PACKET
    return np.asarray((index >= start) & (index < end))


def _polynomial(x: Float32Array, coefficients: Float32Array) -> Float32Array:
    """Evaluate a polynomial by Horner's rule, highest power first, each step in float32."""
    value = np.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        value = value * x + coefficient
    return value


def _scalar_logistic(x: Float32Array) -> Float32Array:
    """Compute e**x / (1 + e**x), the exponential rounded once."""
    exp = np.exp(np.minimum(x, _LOGISTIC_END).astype(np.float64)).astype(np.float32)
    return np.asarray(exp / (np.float32(1) + exp), np.float32)


def _packet_logistic(x: Float32Array) -> Float32Array:
    """Compute e**x / (1 + e**x) with e**x = (2**m * e**r)**2, where x / 2 = m * ln(2) + r, and e**r a polynomial."""
    half = np.minimum(x, _LOGISTIC_END) * np.float32(0.5)
    m = np.floor(half * _LOG2_E + np.float32(0.5))
    r = m * -_LN2_HIGH + half
    r = m * -_LN2_LOW + r
    square = r * r
    even = square * _EXP_FOURTH + _EXP_SQUARE
    odd = square * _EXP_FIFTH + _EXP_CUBE
    polynomial = square * (r * odd + even) + (r + np.float32(1))
    root = np.ldexp(polynomial, np.maximum(m, -126).astype(np.int32))
    exp = root * root
    return np.where(x < _LOGISTIC_START, np.float32(0), exp / (np.float32(1) + exp))

"""Sums of float32 numbers in the order in which TensorFlow adds them on one thread of an x86-64 processor.

Float addition is not associative, so a sum has the bits of its order. TensorFlow leaves its order to Eigen, which keeps
eight partial sums in a vector register, four registers at a time, and halves long sums first.

Source: Eigen ``unsupported/Eigen/CXX11/src/Tensor/TensorReduction.h`` (InnerMostDimReducer).
"""

from __future__ import annotations

import numpy as np

from qmath.types import Float32Array

#: Numbers in a vector register.
LANES = 8
#: Registers that a long sum is gathered in.
REGISTERS = 4
#: Sums of more terms than this are halved.
LONGEST = LANES * 1024
#: Results of a smaller magnitude become 0: TensorFlow tells the processor to flush denormal numbers.
SMALLEST_NORMAL = np.finfo(np.float32).smallest_normal
#: Terms of this magnitude and beyond are multiples of a normal number, hence so are their sums.
NEVER_DENORMAL = np.float32(2.0**-102)


def flush_denormals(x: Float32Array) -> Float32Array:
    """Return ``x`` with denormal numbers, those below 2**-126 in magnitude, replaced by zeros of the same sign."""
    return np.asarray(np.where(np.abs(x) < SMALLEST_NORMAL, np.copysign(np.float32(0), x), x), np.float32)


def eigen_sum(terms: Float32Array) -> Float32Array:
    """Add terms along the last axis.

    1. More than 8192 terms: the sum of the first half and that of the second, each by these rules. Their border is
       a multiple of eight terms from the start of the whole.
    2. Of 32 terms and more: 32 sums, of every 32nd term, in four groups of eight; the groups are added in order.
    3. The terms that are left are added to the group of eight as far as they are eight; the others one by one.
    4. The group is halved by addition until one number is left, and added to the sum of the others.

    Parameters
    ----------
    terms
        float32, shape ``(..., n)``.

    Returns
    -------
    Float32Array
        Shape ``(...)``.

    """
    # One term after the other lies along the first axis: a step of the sum is then one operation on all sums.
    return _halved(flush_denormals(np.moveaxis(terms, -1, 0)), first=0)


def _halved(terms: Float32Array, first: int) -> Float32Array:
    """Add terms along the first axis; ``first`` is the position of the first one in the whole."""
    count = len(terms)
    if count <= LONGEST:
        return _gathered(terms)
    middle = first + (count + 1) // 2
    border = -(-middle // LANES) * LANES - first
    return _added(_added(np.float32(0), _halved(terms[:border], first)), _halved(terms[border:], first + border))


def _gathered(terms: Float32Array) -> Float32Array:
    inner = terms.shape[1:]
    in_registers = len(terms) // (LANES * REGISTERS) * LANES * REGISTERS
    in_lanes = len(terms) // LANES * LANES
    registers = _in_order(terms[:in_registers].reshape(-1, REGISTERS, LANES, *inner))
    lanes = _in_order(
        np.concatenate([_in_order(registers)[np.newaxis], terms[in_registers:in_lanes].reshape(-1, LANES, *inner)])
    )
    while len(lanes) > 1:
        half = len(lanes) // 2
        lanes = _added(lanes[:half], lanes[half:])
    return _added(_in_order(terms[in_lanes:]), lanes[0])


def _in_order(steps: Float32Array) -> Float32Array:
    """Add along the first axis, one step after the other, beginning with 0."""
    nonzero = np.abs(steps[steps != 0])
    if nonzero.size == 0 or nonzero.min() >= NEVER_DENORMAL:
        # NumPy adds in order along an axis that is not the innermost one in memory.
        wide = np.stack([steps, steps], axis=-1)
        return np.asarray(np.add.reduce(wide, axis=0)[..., 0] + np.float32(0))
    total = np.zeros(steps.shape[1:], np.float32)
    for step in steps:
        total = _added(total, step)
    return total


def _added(a: Float32Array | np.float32, b: Float32Array) -> Float32Array:
    return flush_denormals(np.asarray(a + b))

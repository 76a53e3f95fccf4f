"""Fast forms of float32 convolutions: a planned sum, and the bias and the clamp in long runs of memory.

They give what the definitions give: to the last bit where products are added in the runtime's order, and otherwise up
to the last bits, as BLAS and the runtime's own optimized kernels differ.
"""

from __future__ import annotations

import math

import numpy as np

from kernels.engine.activation import Activation, float_range
from kernels.engine.convolution import optional_array
from kernels.engine.float_sums import matmul_in_order
from kernels.engine.geometry import Window, reachable
from kernels.engine.plans import ConvolutionPlan, DepthwisePlan
from kernels.engine.runs import rows_in_run
from kernels.engine.threads import per_thread
from kernels.engine.types import Inputs, Outputs, Runner, given
from kernels.engine.ufuncs import clip
from qmath.types import Array

#: Input slot of the bias.
BIAS = 2


class BiasAndClamp:
    """Adds a bias, one number a channel, and clamps: what a float convolution does with its sums.

    Parameters
    ----------
    constants
        Of the op, an entry an input slot.
    activation
        What to clamp to; without one, to the finite numbers.

    """

    def __init__(self, constants: Inputs, activation: Activation) -> None:
        self._low, self._high = float_range(activation)
        self._constant = optional_array(constants, BIAS)
        #: The constant bias repeated, by the number of elements that it is added to.
        self._runs: dict[int, Array] = {}

    def __call__(self, sums: Array, inputs: Inputs, out: Array) -> Array:
        """Finish sums, channels last and contiguous; write them to ``out``, which may be ``sums``, and return it."""
        bias = optional_array(inputs, BIAS)
        if bias is None or sums.size == 0:
            clip(sums, self._low, self._high, out)
            return out
        run = self._run(sums.size) if bias is self._constant else bias.reshape(-1)
        runs = out.reshape(-1, run.size)
        np.add(sums.reshape(runs.shape), run, out=runs)
        clip(runs, self._low, self._high, runs)
        return out

    def _run(self, size: int) -> Array:
        """Return the constant bias as often as makes a run of memory that divides ``size`` elements."""
        run = self._runs.get(size)
        if run is None:
            bias = given([self._constant], 0).reshape(-1)
            run = self._runs[size] = np.tile(bias, rows_in_run(size // bias.size, bias.size))
        return run


def convolution(constants: Inputs, window: Window, groups: int, activation: Activation, *, in_order: bool) -> Runner:
    """Return CONV_2D with a constant filter.

    Parameters
    ----------
    constants
        Of the op, an entry an input slot.
    window, groups
        See :func:`kernels.engine.linear.convolve`.
    activation
        What to clamp to.
    in_order
        Whether products are added one after the other, as the runtime's plain loops do, or as BLAS does.

    """
    window, taps = reachable(window)
    filter_ = given(constants, 1)[:, taps[0], taps[1]]
    matrices = [np.ascontiguousarray(block.T) for block in np.split(filter_.reshape(len(filter_), -1), groups)]
    multiply = matmul_in_order if in_order else np.matmul
    finish = BiasAndClamp(constants, activation)
    plan = per_thread(lambda shape, scratch: ConvolutionPlan(shape, matrices, window, 0, scratch, multiply))

    def run(inputs: Inputs) -> Outputs:
        x = given(inputs, 0)
        sums = plan(x.shape)(x)
        return (finish(sums, inputs, np.empty_like(sums)),)

    def run_pointwise(inputs: Inputs) -> Outputs:
        x, matrix = given(inputs, 0), matrices[0]
        out = np.empty((*x.shape[:3], matrix.shape[1]), np.float32)
        rows = math.prod(x.shape[:3])
        multiply(x.reshape(rows, len(matrix)), matrix, out.reshape(rows, matrix.shape[1]))
        return (finish(out, inputs, out),)

    return run_pointwise if window.is_pointwise and groups == 1 else run


def depthwise_convolution(constants: Inputs, window: Window, activation: Activation, *, in_order: bool) -> Runner:
    """Return DEPTHWISE_CONV_2D with a constant filter; see :func:`convolution`."""
    window, taps = reachable(window)
    filter_ = given(constants, 1)[0][taps]
    finish = BiasAndClamp(constants, activation)
    plan = per_thread(lambda shape, scratch: DepthwisePlan(shape, filter_, window, 0, scratch, in_order=in_order))

    def run(inputs: Inputs) -> Outputs:
        x = given(inputs, 0)
        sums = plan(x.shape)(x)
        return (finish(sums, inputs, np.empty_like(sums)),)

    return run

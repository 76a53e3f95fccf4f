"""Channels that do nothing: no input changes what they give."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from qmath.types import BoolArray
from quantref.checks.channels import Channels
from quantref.checks.context import OpContext, in_channels
from quantref.checks.finding import Finding, Severity
from quantref.checks.rule import Effect, Rule

ZERO_WEIGHTS = Rule(
    "QR601",
    "zero-channel",
    Severity.WARNING,
    Effect.WASTE,
    "all weights of an output channel are 0",
    "The channel gives its bias, whatever comes in: it was pruned, or its weights are too small for the weight scale.",
    "the definition of the op",
    "remove the channel, or quantize weights per channel so that small ones keep codes",
)
CONSTANT_CHANNEL = Rule(
    "QR602",
    "constant-channel",
    Severity.WARNING,
    Effect.WASTE,
    "an output channel gives one code for every input",
    "Its lowest and its highest accumulator requantize to the same code: it saturates, or its multiplier is so small "
    "that all it can sum stays within a step.",
    "tflite/kernels/internal/reference/integer_ops/conv.h",
    "remove the channel if it is as dead in the float model, as behind a ReLU that its bias never lets it pass; else "
    "its scales do not belong together: quantize anew",
)
ONE_CODE = Rule(
    "QR603",
    "activation-of-one-code",
    Severity.WARNING,
    Effect.WASTE,
    "the fused activation leaves no more than one code of the output",
    "The limits of the activation are rounded to codes and clamped to the type; scale and zero point leave no room "
    "between them.",
    "tflite/kernels/kernel_util.cc (CalculateActivationRangeQuantized)",
    "choose the output's scale and zero point for the range that the activation leaves",
)
RULES = (ZERO_WEIGHTS, CONSTANT_CHANNEL, ONE_CODE)

#: Steps by which regimes may differ before the last rounding: two roundings instead of one.
_SLACK = 0.3


def dead(op: OpContext) -> Iterator[Finding]:
    """Check whether the channels of an op depend on its input."""
    channels = op.channels
    if channels is None:
        return
    y = op.view.outputs[0]
    if channels.clamp.min >= channels.clamp.max:
        found = f"from {channels.clamp.min} to {channels.clamp.max}"
        yield op.finding(ONE_CODE, [y], "an activation range of several codes", found)
        return
    weights = op.input(1)
    zero = channels.zero & (channels.real > 0)  # a scale of 0 has a rule of its own
    if zero.any():
        yield op.finding(ZERO_WEIGHTS, [weights], "weights other than 0", f"only zeros in {in_channels(zero)}")
    constant = _constant(channels)
    if constant.any():
        code = int(_codes(channels, channels.low, 0.0)[np.flatnonzero(constant)[0]])
        found = f"always {code}{_end(code, channels)} in {in_channels(constant)}"
        yield op.finding(CONSTANT_CHANNEL, [weights, y], "outputs that depend on the input", found)


def _end(code: int, channels: Channels) -> str:
    """Say whether a code is an end of the output's range."""
    ends = {channels.clamp.min: ", the lowest code,", channels.clamp.max: ", the highest code,"}
    return ends.get(code, "")


def _constant(channels: Channels) -> BoolArray:
    """Whether a channel gives one code for all inputs, under every regime; channels of zeros apart."""
    # Multipliers that vanish have a rule of their own; an accumulator that overflows can give anything.
    usable = np.isfinite(channels.real) & (channels.real >= 2.0**-32) & ~channels.zero & ~channels.beyond
    low, high = _codes(channels, channels.low, -_SLACK), _codes(channels, channels.high, _SLACK)
    return np.asarray((low == high) & usable)


def _codes(channels: Channels, accumulators: object, slack: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    with np.errstate(all="ignore"):
        steps = np.nan_to_num(np.asarray(accumulators, np.float64) * channels.real)
    codes = np.floor(steps + slack + 0.5) + channels.zero_point
    return np.asarray(np.clip(codes, channels.clamp.min, channels.clamp.max))

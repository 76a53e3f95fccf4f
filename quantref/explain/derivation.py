"""How the real multipliers of an op follow from the scales of its tensors: found by trying what kernels do.

The kernels differ in the order and the precision of a product of scales, and a multiplier's last bits with them. A
formula is shown only if it gives the very number that the op was prepared with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import permutations

import numpy as np

from kernels.engine.types import OpView, TensorView
from qmath.errors import SpecError
from qmath.multiplier import quantize_multiplier
from qmath.types import FixedPointMultiplier
from quantref.explain.explanation import Step
from quantref.formulas import Number, exact, parse
from quantref.roles import INDICES, role

#: Formulas of one scale and of two; the first that fits is shown.
_ONE = (
    "float64({a} / output_scale)",
    "float32({a} / output_scale)",
    "float32(float32({a} * alpha) / output_scale)",
    "float64(1 / float32(float32(sqrt({a})) * output_scale))",
    "min(beta * {a} * 2**26, 2**31 - 1)",
    "float64(float32({a} * beta) / (10 / 65535))",
    "{a}",
)
_TWO = (
    "float64(float64({a} * {b}) / output_scale)",
    "float64(float32({a} * {b}) / output_scale)",
    "float32(float32({a} * {b}) / output_scale)",
    "float32({a} / float32({b} * output_scale))",
    "float64({a} / float32(2 * max({a}, {b})))",
    "float64(float64(float32(2 * max({a}, {b})) * float32(2 * max({a}, {b}))) / float32(2**14 * output_scale))",
    "float64(float32(2 * max({a}, {b})) / float32(2**20 * output_scale))",
    "float64(float32(2 * max({a}, {b})) / float32(2**15 * output_scale))",
)


@dataclass(frozen=True, slots=True)
class Scales:
    """The scales of an op's tensors at one channel, by names such as ``input_scale``."""

    inputs: Mapping[str, Number]
    output: Number | None
    options: Mapping[str, Number]

    @classmethod
    def of(cls, op: OpView, channel: int) -> Scales:
        """Read the scales of an op; biases and other wide integers are left out."""
        found: dict[str, Number] = {}
        for slot, tensor in enumerate(op.inputs):
            if tensor is not None and tensor.dtype not in INDICES:
                scale = _scale(tensor, channel)
                if scale is not None:
                    found[f"{role(op, slot)}_scale"] = scale
        output = _scale(op.outputs[0], channel) if op.outputs else None
        options = {name: Fraction(value) for name, value in op.options.items() if isinstance(value, float)}
        return cls(found, output, options)

    @property
    def terms(self) -> dict[str, Number]:
        """All scales, and options that are real numbers, by name."""
        return dict(self.options) | dict(self.inputs) | ({} if self.output is None else {"output_scale": self.output})


def _scale(tensor: TensorView, channel: int) -> Number | None:
    if tensor.quant is None:
        return None
    scale = tensor.quant.scale
    value = float(scale[channel if tensor.quant.per_axis and channel < scale.size else 0])
    return Fraction(value) if np.isfinite(value) else None


def derive(scales: Scales, real_multiplier: float) -> Step:
    """Return the step to a real multiplier: with a formula, if one of the known ones gives it exactly."""
    value = exact(real_multiplier)
    for rule, numbers, result in _candidates(scales):
        if result == value:
            return Step("real multiplier", real_multiplier, rule, numbers)
    return Step("real multiplier", real_multiplier)


def derive_fixed(scales: Scales, factor: FixedPointMultiplier) -> Step | None:
    """Return the step to the real number that a multiplier and a shift were made from; None if no formula is known."""
    for rule, numbers, result in _candidates(scales):
        real = float(result)
        encoded = quantize_multiplier(real)
        if encoded.multiplier == factor.multiplier and encoded.shift == factor.shift and Fraction(real) == result:
            return Step("real multiplier", real, rule, numbers)
    return None


def _candidates(scales: Scales) -> Iterator[tuple[str, str, Number]]:
    terms = scales.terms
    for forms, count in ((_TWO, 2), (_ONE, 1)):
        for names in permutations(scales.inputs, count):
            for form in forms:
                formula = parse(form.format(**dict(zip("ab", names, strict=False))))
                try:
                    yield formula.text, formula.with_numbers(terms), formula.value(terms)
                except SpecError:
                    continue

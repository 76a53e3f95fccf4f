"""The values that TFLiteConverter's quantizer keeps a state of: a tensor each, and shared constants more than one.

Follows ``PreprocessConstantOps`` in
``tensorflow/compiler/mlir/lite/quantization/common/quantization_lib/quantization_driver.cc``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from quantref.quantizer.graph import FloatGraph, Use
from quantref.quantizer.op_table import AFFINE_OPS, TFLITE_SAME_SCALE, TFLITE_WEIGHTS


@dataclass(frozen=True)
class Values:
    """How tensors become values, numbered like them; copies of constants have numbers of their own.

    Attributes
    ----------
    operands
        The value that each operand is.
    constants
        The constant tensor that a value is, in the order in which the quantizer meets them.
    weights
        Constants whose parameters follow from their content: all that are neither a bias nor an operand of an op
        with one scale for everything.
    channel_axes
        Of those that are an op's proper weights: the axis of per-axis scales, None if they are per-tensor.

    """

    operands: Mapping[Use, int]
    constants: Mapping[int, int]
    weights: frozenset[int]
    channel_axes: Mapping[int, int | None]

    @cached_property
    def users(self) -> Mapping[int, tuple[int, ...]]:
        """The operators that read each value."""
        found: dict[int, dict[int, None]] = {}
        for use, value in self.operands.items():
            found.setdefault(value, {}).setdefault(use.op)
        return {value: tuple(ops) for value, ops in found.items()}

    @cached_property
    def use_counts(self) -> Mapping[int, int]:
        """How many operands each value is."""
        found: dict[int, int] = {}
        for value in self.operands.values():
            found[value] = found.get(value, 0) + 1
        return found


def values_of(graph: FloatGraph, *, per_channel: bool, per_channel_dense: bool) -> Values:
    """Number the values of a graph.

    A constant that is shared gets a copy for each operand that takes its parameters from elsewhere (a bias, or an
    operand of an op with one scale for everything).

    Parameters
    ----------
    graph
        The float graph.
    per_channel, per_channel_dense
        Whether weights, and those of FULLY_CONNECTED, have a scale a channel.

    """
    operands = {
        Use(op, slot): tensor
        for op, operator in enumerate(graph.operators)
        for slot, tensor in enumerate(operator.inputs)
        if tensor >= 0
    }
    constants: dict[int, int] = {}
    weights: set[int] = set()
    axes: dict[int, int | None] = {}
    copies = len(graph.tensors)
    for tensor in range(len(graph.tensors)):
        uses = graph.uses[tensor]
        if not (graph.is_float(tensor) and graph.is_constant(tensor) and uses and _first_is_finite(graph, tensor)):
            continue
        for use in uses:
            name = graph.operators[use.op].name
            if not _takes_parameters_from_elsewhere(name, use.slot):
                constants[tensor] = tensor
                weights.add(tensor)
                if (name, use.slot) in TFLITE_WEIGHTS:
                    dense = name == "FULLY_CONNECTED"
                    channels = per_channel and (per_channel_dense or not dense)
                    axes[tensor] = TFLITE_WEIGHTS[name, use.slot] if channels else None
            elif len(uses) > 1:
                operands[use] = copies
                constants[copies] = tensor
                copies += 1
            else:
                constants[tensor] = tensor
    return Values(operands, constants, frozenset(weights), axes)


def _takes_parameters_from_elsewhere(name: str, slot: int) -> bool:
    affine = AFFINE_OPS.get(name)
    return name in TFLITE_SAME_SCALE or (affine is not None and slot == affine.bias)


def _first_is_finite(graph: FloatGraph, tensor: int) -> bool:
    values = graph.constant(tensor).reshape(-1)
    return values.size > 0 and bool(np.isfinite(values[0]))

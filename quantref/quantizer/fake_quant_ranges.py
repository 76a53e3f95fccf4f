"""Ranges that training left in a model: FAKE_QUANT ops, and pairs of QUANTIZE and DEQUANTIZE."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

import fbs
from qmath.errors import ModelError, UnsupportedError
from qmath.types import DType
from quantref.quantizer.params import Params
from quantref.quantizer.ranges import trained_range

_BITS = 8


@dataclass(frozen=True, slots=True)
class TrainedRange:
    """What training says of a tensor: a range, or parameters already.

    Attributes
    ----------
    minimum, maximum
        Real values, float32.
    narrow
        Whether the lowest code stays unused.
    params
        Parameters as the file has them, int8, where a QUANTIZE gives them and no range is known; then only these
        count.

    """

    minimum: float = 0.0
    maximum: float = 0.0
    narrow: bool = False
    params: Params | None = None

    def to_params(self, dtype: DType, *, symmetric: bool = False) -> Params:
        """Return the parameters for a type of codes.

        Parameters
        ----------
        dtype
            INT8 or UINT8.
        symmetric
            Whether kernels shall be able to use them for weights: int8 ones are then made symmetric, uint8 ones get
            one scale for all channels.

        """
        if self.params is not None:
            return self._from_params(self.params, dtype, symmetric=symmetric)
        low, high = self.minimum, self.maximum
        if symmetric:
            high = max(abs(low), abs(high))
            low = -high
        return trained_range(low, high, dtype, narrow=(self.narrow or symmetric) and dtype is DType.INT8)

    @staticmethod
    def _from_params(params: Params, dtype: DType, *, symmetric: bool) -> Params:
        """Return parameters that are known for int8, or wider ones that kernels take."""
        lows, highs = (params.scales * (code - np.array(params.zero_point)) for code in params.codes)
        if dtype is DType.UINT8:
            several = symmetric and params.axis is not None
            return trained_range(lows.min(), highs.max(), dtype) if several else params.unsigned()
        if not symmetric or not any(params.zero_point):
            return params
        scales = np.maximum(np.abs(lows), np.abs(highs)) / dtype.max
        return Params(dtype, tuple(map(float, scales)), (0,) * scales.size, params.axis, narrow=True)


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """A model without its FAKE_QUANT ops, and what they said.

    Attributes
    ----------
    model
        Those who read the op's result now read its input.
    ranges
        By tensor of the main subgraph.

    """

    model: fbs.Model
    ranges: Mapping[int, TrainedRange]


def take_trained_ranges(model: fbs.Model) -> TrainedModel:
    """Take FAKE_QUANT ops, and QUANTIZE followed by DEQUANTIZE, out of a model's main subgraph.

    Raises
    ------
    UnsupportedError
        A range is for another number of bits than 8.
    ModelError
        A FAKE_QUANT lacks its options, or a QUANTIZE its parameters.

    """
    subgraph = model.subgraphs[0]
    renamed: dict[int, int] = {}
    ranges: dict[int, TrainedRange] = {}
    dropped: set[int] = set()
    readers = _readers(subgraph)
    for op, operator in enumerate(subgraph.operators):
        found = _trained(subgraph, op, readers)
        if found is None:
            continue
        result, removed, trained = found
        source = renamed.get(operator.inputs[0], operator.inputs[0])
        renamed[result] = source
        ranges[source] = trained
        dropped |= removed
    if not dropped:
        return TrainedModel(model, {})
    operators = tuple(
        dataclasses.replace(operator, inputs=tuple(renamed.get(tensor, tensor) for tensor in operator.inputs))
        for op, operator in enumerate(subgraph.operators)
        if op not in dropped
    )
    tensors = _with_output_names(subgraph, renamed)
    outputs = tuple(renamed.get(tensor, tensor) for tensor in subgraph.outputs)
    clean = dataclasses.replace(subgraph, tensors=tensors, operators=operators, outputs=outputs)
    signatures = tuple(_renamed(signature, renamed) for signature in model.signatures)
    subgraphs = (clean, *model.subgraphs[1:])
    return TrainedModel(dataclasses.replace(model, subgraphs=subgraphs, signatures=signatures), ranges)


def _readers(subgraph: fbs.Subgraph) -> Mapping[int, list[int]]:
    found: dict[int, list[int]] = {}
    for op, operator in enumerate(subgraph.operators):
        for tensor in operator.inputs:
            found.setdefault(tensor, []).append(op)
    return found


def _trained(
    subgraph: fbs.Subgraph, op: int, readers: Mapping[int, list[int]]
) -> tuple[int, set[int], TrainedRange] | None:
    """Return the tensor that an op's result is, the ops that go, and the range; None if the op says nothing."""
    operator = subgraph.operators[op]
    if operator.name == "FAKE_QUANT":
        return operator.outputs[0], {op}, _fake_quant(operator)
    if operator.name != "QUANTIZE" or subgraph.tensors[operator.inputs[0]].dtype is not DType.FLOAT32:
        return None
    followers = readers.get(operator.outputs[0], [])
    if len(followers) != 1 or subgraph.operators[followers[0]].name != "DEQUANTIZE":
        return None
    codes = subgraph.tensors[operator.outputs[0]]
    return subgraph.operators[followers[0]].outputs[0], {op, followers[0]}, _quantized(codes)


def _fake_quant(operator: fbs.Operator) -> TrainedRange:
    options = operator.options
    if options is None:
        raise ModelError("FAKE_QUANT: expected options, found none")
    if options["num_bits"] != _BITS:
        raise UnsupportedError(f"FAKE_QUANT: expected {_BITS} bits, found {options['num_bits']}")
    return TrainedRange(options["min"], options["max"], narrow=bool(options["narrow_range"]))


def _quantized(codes: fbs.Tensor) -> TrainedRange:
    quant = codes.quant
    if quant is None or codes.dtype not in {DType.INT8, DType.UINT8}:
        raise UnsupportedError(
            f"QUANTIZE giving {codes.name!r}: expected int8 or uint8 codes, found {codes.dtype.name}"
        )
    offset = DType.UINT8.max - DType.INT8.max if codes.dtype is DType.UINT8 else 0
    axis = quant.quantized_dimension if quant.per_axis else None
    zero_point = tuple(int(code) - offset for code in quant.zero_point)
    return TrainedRange(params=Params(DType.INT8, tuple(map(float, quant.scale)), zero_point, axis))


def _with_output_names(subgraph: fbs.Subgraph, renamed: Mapping[int, int]) -> tuple[fbs.Tensor, ...]:
    """Return the tensors; a graph output that goes gives its name to the tensor that leaves in its place."""
    tensors = list(subgraph.tensors)
    for old, new in renamed.items():
        if old in subgraph.outputs and new not in subgraph.inputs:
            tensors[new] = dataclasses.replace(tensors[new], name=subgraph.tensors[old].name)
    return tuple(tensors)


def _renamed(signature: fbs.Signature, renamed: Mapping[int, int]) -> fbs.Signature:
    if signature.subgraph_index != 0:
        return signature
    outputs = tuple((name, renamed.get(tensor, tensor)) for name, tensor in signature.outputs)
    return dataclasses.replace(signature, outputs=outputs)

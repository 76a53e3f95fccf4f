"""Compare a quantized model with the float model that it was made from, op by op, on given data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

import fbs
from kernels.profiles import LITERT_REFERENCE, Profile
from qmath.affine import dequantize, quantize
from qmath.errors import InputError
from qmath.types import Array, DType, QuantParams
from quantref.interpreter import Interpreter, ModelSource
from quantref.quantizer.accuracy import AccuracyReport, OutputAccuracy, TensorAccuracy
from quantref.quantizer.noise import Tally
from quantref.quantizer.pairing import CONVERSIONS, OpPair, pair_inputs, pair_ops, pair_outputs
from quantref.quantizer.representative import RepresentativeDataset, Samples

__all__ = ["AccuracyReport", "compare_quantized"]


def compare_quantized(
    float_model: ModelSource,
    quantized_model: ModelSource,
    data: RepresentativeDataset,
    *,
    profile: str | Profile = LITERT_REFERENCE,
    progress: Callable[[int, int | None], None] | None = None,
) -> AccuracyReport:
    """Run both models on the same data and measure what quantization costs.

    Every op is measured twice. Its own error: the float op runs on the very values that the quantized op got, as in
    TFLite's QuantizationDebugger; where these were quantized from real ones, on the real ones. Its error so far:
    against the same tensor of the float model.

    Parameters
    ----------
    float_model, quantized_model
        Paths, bytes, or models.
    data
        Samples for the float model (see :mod:`quantref.quantizer.representative`). Inputs that are quantized in the
        other model are quantized for it.
    profile
        Which runtime's arithmetic the quantized model runs under.
    progress
        Called with the number of samples done and of all; None for the latter if it is not known.

    Raises
    ------
    InputError
        The data does not fit, or the models do not belong together.
    ModelError, UnsupportedError
        A model cannot be read or run.

    """
    comparison = _Comparison(Interpreter(float_model), Interpreter(quantized_model, profile))
    samples = Samples(comparison.ours.model, data)
    count = 0
    for sample in samples:
        comparison.run(sample)
        count += 1
        if progress is not None:
            progress(count, samples.total)
    return comparison.report(count)


@dataclass
class _Row:
    """One output of an op that both models have."""

    pair: OpPair
    slot: int
    ours: int
    theirs: int
    own: Tally = field(default_factory=Tally)
    total: Tally = field(default_factory=Tally)
    below: int = 0
    above: int = 0


class _Comparison:
    """Both models, and what was measured so far: ``ours`` is the float model, ``theirs`` the quantized one."""

    def __init__(self, ours: Interpreter, theirs: Interpreter) -> None:
        self.ours = ours
        self._theirs = theirs
        self._float, self._quantized = ours.graph.subgraph, theirs.graph.subgraph
        read = [number for operator in self._quantized.operators for number in operator.inputs]
        self._read = frozenset([*read, *self._quantized.outputs])
        self._pairs = pair_ops(self._float, self._quantized)
        self._inputs = pair_inputs(self._float, self._quantized)
        self._outputs = pair_outputs(self._float, self._quantized)
        self._output_tallies = [Tally() for _ in self._outputs]
        self._rows = [row for pair in self._pairs for row in self._rows_of(pair)]
        self._sources = _quantized_from(self._quantized)
        if not self._rows:
            raise InputError("expected a model and its quantized form, found two that have no op in common")

    def _rows_of(self, pair: OpPair) -> list[_Row]:
        """Return the float outputs of an op; not what nothing reads, such as parts of a SPLIT."""
        outputs = zip(
            self._float.operators[pair.float_op].outputs,
            self._quantized.operators[pair.quantized_op].outputs,
            strict=True,
        )
        return [
            _Row(pair, slot, ours, theirs)
            for slot, (ours, theirs) in enumerate(outputs)
            if min(ours, theirs) >= 0 and theirs in self._read and self._float.tensors[ours].dtype is DType.FLOAT32
        ]

    def run(self, sample: Sequence[Array]) -> None:
        """Run both models on a sample and add what is found."""
        self.ours.graph.run(sample)
        self._theirs.graph.run([self._input(position, sample) for position in range(len(self._inputs))])
        own = {pair: self._run_alone(pair) for pair in self._pairs}
        for row in self._rows:
            reference, found = self.ours.graph.value(row.ours), self._real(row.theirs)
            if reference.shape != found.shape:
                raise InputError(
                    f"expected tensors of the same shape, found {list(reference.shape)} and {list(found.shape)} "
                    f"({self._float.tensors[row.ours].name!r})"
                )
            row.total.add(reference, found)
            alone = own[row.pair]
            if alone is not None:
                row.own.add(alone[row.slot], found)
            self._count_clipped(row, reference)
        for position, tally in zip(self._outputs, self._output_tallies, strict=True):
            theirs = self._quantized.outputs[self._outputs.index(position)]
            tally.add(self.ours.graph.value(self._float.outputs[position]), self._real(theirs))

    def _input(self, position: int, sample: Sequence[Array]) -> Array:
        """Return a sample's array in the form in which the quantized model takes it."""
        tensor = self._quantized.tensors[self._quantized.inputs[position]]
        array = sample[self._inputs[position]]
        if tensor.quant is not None and tensor.dtype.is_integer and np.issubdtype(array.dtype, np.floating):
            return quantize(array, tensor.quant)
        return array

    def _run_alone(self, pair: OpPair) -> Sequence[Array] | None:
        """Run the float op on what the quantized op got; None if that cannot be."""
        ours, theirs = self._float.operators[pair.float_op], self._quantized.operators[pair.quantized_op]
        stateful = any(self._float.tensors[number].is_variable for number in ours.inputs if number >= 0)
        if stateful or len(ours.inputs) != len(theirs.inputs):
            return None
        inputs = [self._fed(*numbers) for numbers in zip(ours.inputs, theirs.inputs, strict=True)]
        return [np.asarray(output) for output in self.ours.run_op(pair.float_op, inputs)]

    def _fed(self, ours: int, theirs: int) -> Array | None:
        """Return what to feed a float op with: its own constants, and what reached the quantized op."""
        if ours < 0:
            return None
        if theirs < 0 or self._quantized.tensors[theirs].is_constant or self._float.tensors[ours].is_constant:
            return self.ours.graph.value(ours)
        return self._real(self._sources.get(theirs, theirs)).astype(self._float.tensors[ours].dtype.storage, copy=False)

    def _real(self, number: int) -> Array:
        """Return the real values that a tensor of the quantized model stands for."""
        value, params = self._theirs.graph.value(number), _params(self._quantized.tensors[number])
        return value if params is None else dequantize(value, params)

    def _count_clipped(self, row: _Row, reference: Array) -> None:
        params = _params(self._quantized.tensors[row.theirs])
        if params is not None and not params.per_axis:
            dtype, scale, zero_point = params.dtype, float(params.scale[0]), int(params.zero_point[0])
            row.below += int(np.count_nonzero(reference < scale * (dtype.min - zero_point - 0.5)))
            row.above += int(np.count_nonzero(reference > scale * (dtype.max - zero_point + 0.5)))

    def report(self, samples: int) -> AccuracyReport:
        """Return what was found."""
        paired = {pair.quantized_op for pair in self._pairs}
        return AccuracyReport(
            float_model=_file_name(self.ours.model),
            quantized_model=_file_name(self._theirs.model),
            samples=samples,
            tensors=tuple(self._accuracy(row) for row in self._rows),
            outputs=tuple(
                OutputAccuracy(self._float.tensors[self._float.outputs[position]].name, tally.error())
                for position, tally in zip(self._outputs, self._output_tallies, strict=True)
            ),
            unmatched=tuple(
                f"{index} {operator.name}"
                for index, operator in enumerate(self._quantized.operators)
                if operator.name not in CONVERSIONS and index not in paired
            ),
        )

    def _accuracy(self, row: _Row) -> TensorAccuracy:
        tensor = self._quantized.tensors[row.theirs]
        params = _params(tensor)
        single = params if params is not None and not params.per_axis else None
        elements = max(row.total.elements, 1)
        return TensorAccuracy(
            op_index=row.pair.quantized_op,
            op_name=self._quantized.operators[row.pair.quantized_op].name,
            tensor_index=row.theirs,
            tensor_name=tensor.name,
            dtype=tensor.dtype.name.lower(),
            float_name=self._float.tensors[row.ours].name,
            elements=row.total.elements // max(row.total.samples, 1),
            scale=None if single is None else float(single.scale[0]),
            zero_point=None if single is None else int(single.zero_point[0]),
            own=row.own.error() if row.own.samples else None,
            total=row.total.error(),
            clipped_low=row.below / elements,
            clipped_high=row.above / elements,
        )


def _params(tensor: fbs.Tensor) -> QuantParams | None:
    return tensor.quant if tensor.dtype.is_integer else None


def _quantized_from(graph: fbs.Subgraph) -> dict[int, int]:
    """Return for each tensor that a QUANTIZE makes from a float32 one that one."""
    return {
        operator.outputs[0]: operator.inputs[0]
        for operator in graph.operators
        if operator.name == "QUANTIZE" and graph.tensors[operator.inputs[0]].dtype is DType.FLOAT32
    }


def _file_name(model: fbs.Model) -> str:
    return model.path.name if model.path else "model"

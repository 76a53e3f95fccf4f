"""With our own calibration of the same data, our models are those of the converters up to their float kernels' bits.

Zero points and codes of weights are identical, scales within 16 units in the last place, and so are codes of biases
that are too large for their scale's bits to tell them apart; others are within 1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import fbs
from qmath.types import DType
from quantref.quantizer import Statistics, load_aeq_statistics, quantize, statistics_from_calibrated
from quantref.quantizer.calibration import calibrate
from quantref.quantizer.pairing import CONVERSIONS
from tests.quantref.quantizer.test_identity import MODELS, STATISTICS

#: Units in the last place that a scale may differ by.
ULPS = 16
#: Tensors compared, by model.
COMPARED = {"convnet": 378, "edge": 611, "lstm": 334, "mixed16": 956, "ties": 299}


def operands(model: fbs.Model) -> Iterator[tuple[str, fbs.Tensor | None]]:
    """Yield every operand and result of the ops that compute."""
    graph = model.subgraphs[0]
    for operator in graph.operators:
        if operator.name not in CONVERSIONS:
            for number in (*operator.inputs, *operator.outputs, *operator.intermediates):
                yield operator.name, graph.tensors[number] if number >= 0 else None


def ulps(one: np.ndarray, other: np.ndarray) -> int:
    """Return the largest distance of positive float32 numbers in units in the last place."""
    return int(np.abs(one.view(np.int32).astype(np.int64) - other.view(np.int32)).max(initial=0))


class Distance:
    """How far two quantized models are from each other."""

    def __init__(self) -> None:
        self.compared: Counter[str] = Counter()
        self.equal: Counter[str] = Counter()
        self.largest: Counter[str] = Counter()
        self.wrong_biases = 0

    def note(self, kind: str, distance: int) -> None:
        """Count a comparison."""
        self.compared[kind] += 1
        self.equal[kind] += distance == 0
        self.largest[kind] = max(self.largest[kind], distance)

    def add(self, ours: fbs.Model, theirs: fbs.Model) -> None:
        """Compare models."""
        for (op, one), (their_op, other) in zip(operands(ours), operands(theirs), strict=True):
            assert (op, one is None) == (their_op, other is None)
            if one is not None and other is not None:
                self.add_tensor(one, other)

    def add_tensor(self, one: fbs.Tensor, other: fbs.Tensor) -> None:
        """Compare tensors."""
        assert (one.dtype, one.shape, one.is_constant) == (other.dtype, other.shape, other.is_constant)
        if other.quant is None:
            return
        assert one.quant is not None
        self.note("zero points", int((one.quant.zero_point != other.quant.zero_point).sum()))
        self.note("scales", ulps(one.quant.scale, other.quant.scale))
        if one.data is not None and other.data is not None:
            kind = "biases" if one.dtype in {DType.INT32, DType.INT64} else "weights"
            apart = np.abs(one.data.astype(np.int64) - other.data)
            self.note(kind, int(apart.max(initial=0)))
            self.compared[f"{kind}' codes"] += apart.size
            self.equal[f"{kind}' codes"] += int((apart == 0).sum())
            if kind == "biases":
                allowed = np.maximum(1, np.abs(other.data.astype(np.int64)) * ULPS >> 23)
                self.wrong_biases += int((apart > allowed).sum())

    def __str__(self) -> str:
        return ", ".join(
            f"{kind} {self.equal[kind]}/{count}"
            + (f" (at most {self.largest[kind]} off)" if self.largest[kind] else "")
            for kind, count in self.compared.items()
        )


def statistics(folder: Path, name: str) -> dict[str, Statistics]:
    """Calibrate a model in both converters' styles."""
    model, data = folder / f"{name}.float32.tflite", folder / f"{name}.repdata.npz"
    return {style: calibrate(model, data, style=style) for style in ("tflite", "aeq")}


@pytest.mark.shared
@pytest.mark.parametrize("name", MODELS)
def test_models_are_the_converters_up_to_bits_of_float_kernels(name: str, shared: Path) -> None:
    folder = shared / "converter"
    own, distance = statistics(folder, name), Distance()
    for kind, arguments in STATISTICS.items():
        path = folder / f"{name}.{kind}.tflite"
        if path.exists():
            made = quantize(
                folder / f"{name}.float32.tflite", statistics=own["aeq" if "aeq" in kind else "tflite"], **arguments
            )
            distance.add(made, fbs.read(path))
    print(f"{name}: {distance}")  # noqa: T201 - the counts are the result
    assert distance.largest["zero points"] == distance.largest["weights"] == 0
    assert distance.wrong_biases == 0
    assert distance.largest["scales"] <= ULPS
    assert distance.compared["zero points"] == COMPARED[name]


@pytest.mark.shared
def test_ranges_are_the_converters_up_to_bits_of_float_kernels(shared: Path) -> None:
    folder = shared / "converter"
    compared: Counter[str] = Counter()
    equal: Counter[str] = Counter()
    for name in MODELS:
        own = statistics(folder, name)
        theirs = {
            "tflite": statistics_from_calibrated(fbs.read(folder / f"{name}.calibrated.tflite")),
            "aeq": load_aeq_statistics(folder / f"{name}.aeq_static_wi8_ai8.calibration.json"),
        }
        for style, wanted in theirs.items():
            for key in wanted.ranges.keys() & own[style].ranges.keys():
                one, other = own[style].ranges[key], wanted.ranges[key]
                compared[style] += 2
                equal[style] += int(one.min == other.min) + int(one.max == other.max)
                width = float(other.max) - float(other.min)
                assert abs(float(one.min) - float(other.min)) <= 2e-6 * width
                assert abs(float(one.max) - float(other.max)) <= 2e-6 * width
    print(f"bounds equal to the bit: {dict(equal)} of {dict(compared)}")  # noqa: T201 - the counts are the result
    assert compared == {"tflite": 180, "aeq": 166}

"""What tools write without a word and no runtime runs, or not as meant: refused, with the reason."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fbs
from qmath.errors import UnsupportedError
from quantref.quantizer import AEQStyle, Statistics, TFLiteStyle, quantize, statistics_from_calibrated
from quantref.runtimes import LiteRT, RuntimeRefused
from tests.quantref.quantizer.small_graphs import FloatGraphBuilder, statistics
from tests.quantref.quantizer.trained_models import trained_model


def shared_bias() -> fbs.Model:
    """Two layers with one bias, and inputs of different ranges."""
    g = FloatGraphBuilder()
    bias = g.builder.constant("bias", np.full(4, 0.5, np.float32))
    value = g.input()
    for name in ("first", "second"):
        weights = g.builder.constant(f"{name}/w", np.eye(4, dtype=np.float32))
        value = g.op("FULLY_CONNECTED", [value, weights, bias], name)
    return g.finish(value)


def both_weights_and_operand() -> fbs.Model:
    g = FloatGraphBuilder()
    constant = g.builder.constant("c", np.eye(4, dtype=np.float32))
    layer = g.op("FULLY_CONNECTED", [g.input(), constant], "y")
    return g.finish(g.op("ADD", [layer, constant], "z", (4, 4)))


def times_zero() -> fbs.Model:
    g = FloatGraphBuilder()
    return g.finish(g.op("MUL", [g.input(), g.builder.constant("zero", np.array(0, np.float32))], "y"))


def summed() -> fbs.Model:
    g = FloatGraphBuilder()
    return g.finish(g.op("SUM", [g.input(), g.builder.constant("axis", np.array([1], np.int32))], "y", (1,)))


def weightless() -> fbs.Model:
    """A layer whose weights are so small that its bias fits in no int32 beside them."""
    g = FloatGraphBuilder()
    return g.finish(g.dense(g.input(), "y", bias=1000.0, weight=1e-6))


TFLITE, AEQ = TFLiteStyle(), AEQStyle()
CASES: dict[str, tuple[fbs.Model, Any, str, str]] = {
    "shared bias": (shared_bias(), TFLITE, "16x8", r"op 2 \(FULLY_CONNECTED\): its bias has another scale"),
    "two types": (both_weights_and_operand(), TFLITE, "16x8", r"op 2 \(ADD\): its operands are of int16 and int8"),
    "scale of 0": (times_zero(), TFLITE, "16x8", "'zero' has the scale 0"),
    "SUM": (summed(), TFLITE, "int8", "codes of SUM as uint8"),
    "bias": (weightless(), AEQ, "int8", "the codes of 'y/b' do not stand for its values"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_tools_mistakes_are_refused_unless_asked_for(case: str) -> None:
    model, style, mode, message = CASES[case]
    known = statistics(model, first=(-2, 2))
    with pytest.raises(UnsupportedError, match=message) as error:
        quantize(model, mode=mode, style=style, statistics=known)
    assert f"{type(style).__name__}(faults=True) writes it all the same" in str(error.value)
    assert quantize(model, mode=mode, style=dataclasses.replace(style, faults=True), statistics=known)


@pytest.mark.parametrize("case", CASES)
def test_style_quantref_does_not_make_them(case: str) -> None:
    model, _, mode, _ = CASES[case]
    assert quantize(model, mode=mode, statistics=statistics(model, first=(-2, 2)))


def test_weights_from_training_with_a_zero_point_are_refused() -> None:
    model = trained_model(narrow=False, input_range=True)
    with pytest.raises(UnsupportedError, match="its int8 weights have the zero point"):
        quantize(model, mode="int8", style="tflite")


def test_of_many_operators_with_one_fault_a_few_are_named() -> None:
    g = FloatGraphBuilder()
    value, axis = g.input(), g.builder.constant("axis", np.array([1], np.int32))
    for number in range(6):
        value = g.op("SUM", [value, axis], f"y{number}", keep_dims=True)
    model = g.finish(value)
    with pytest.raises(UnsupportedError, match=r"op 4 \(SUM\) and 2 more: LiteRT reads"):
        quantize(model, mode="int8", style="tflite", statistics=statistics(model))


@pytest.mark.shared
@pytest.mark.litert
@pytest.mark.parametrize(("name", "arguments"), [("lstm", {}), ("convnet", {"bias_bits": 32})])
def test_litert_refuses_them_too(name: str, arguments: dict[str, int], shared: Path, litert: LiteRT) -> None:
    folder = shared / "converter"
    model = fbs.read(folder / f"{name}.float32.tflite")
    known: Statistics = statistics_from_calibrated(fbs.read(folder / f"{name}.calibrated.tflite"))
    with pytest.raises(UnsupportedError, match="its tool would write a model that does not run"):
        quantize(model, mode="16x8", style="tflite", statistics=known, **arguments)
    written = quantize(model, mode="16x8", style=TFLiteStyle(faults=True), statistics=known, **arguments)
    inputs = [np.zeros(written.subgraphs[0].tensors[i].shape, np.float32) for i in written.subgraphs[0].inputs]
    with pytest.raises(RuntimeRefused):
        list(litert.stream(fbs.write(written), [inputs], all_tensors=False))

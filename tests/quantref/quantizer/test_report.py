"""Accuracy reports: ops find each other, errors are what they are defined to be, tables say the same everywhere."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path

import numpy as np
import pytest

import fbs
from qmath.affine import dequantize, quantize
from qmath.errors import InputError
from qmath.types import DType, QuantParams
from quantref.quantizer.accuracy import DEBUGGER_COLUMNS, IDEAL_RMSE
from quantref.quantizer.pairing import OpPair, pair_inputs, pair_ops, pair_outputs
from quantref.quantizer.report import compare_quantized
from tests.quantref.quantizer.float_models import images, remembering, residual
from tests.quantref.small_models import two_layers

WEIGHTS = np.array([[1.0, -0.5, 0.25], [0.1, 0.2, 0.3]], np.float32)
WEIGHT_CODES, WEIGHT_SCALE = np.array([[127, -64, 32], [13, 25, 38]], np.int8), 1 / 127
INPUT = QuantParams(np.array([1 / 64]), np.array([0]), DType.INT8)
OUTPUT = QuantParams(np.array([1 / 50]), np.array([10]), DType.INT8)
DATA = np.random.default_rng(5).uniform(-2, 2, (6, 1, 3)).astype(np.float32)


def float_model() -> fbs.Model:
    """Build ``relu(W x)`` and its negative."""
    builder = fbs.Builder()
    x = builder.input("x", DType.FLOAT32, (1, 3))
    hidden = builder.tensor("hidden", DType.FLOAT32, (1, 2))
    builder.op("FULLY_CONNECTED", [x, builder.constant("w", WEIGHTS), None], [hidden], fused_activation_function=1)
    y = builder.tensor("y", DType.FLOAT32, (1, 2))
    builder.op("NEG", [hidden], [y])
    return builder.finish([y])


def quantized_model(*, float_io: bool = True) -> fbs.Model:
    """Build the same with an int8 FULLY_CONNECTED; NEG stays float."""
    builder = fbs.Builder()

    def quantized(name: str, params: QuantParams, shape: tuple[int, ...]) -> int:
        scale, zero_point = float(params.scale[0]), int(params.zero_point[0])
        add = builder.input if name == "x" else builder.tensor
        return add(name, DType.INT8, shape, scale=scale, zero_point=zero_point)

    if float_io:
        x = builder.input("x", DType.FLOAT32, (1, 3))
        codes = quantized("tfl.quantize", INPUT, (1, 3))
        builder.op("QUANTIZE", [x], [codes])
    else:
        codes = quantized("x", INPUT, (1, 3))
    weights = builder.constant("w", WEIGHT_CODES, scale=WEIGHT_SCALE)
    hidden = quantized("hidden1", OUTPUT, (1, 2))
    builder.op("FULLY_CONNECTED", [codes, weights, None], [hidden], version=4, fused_activation_function=1)
    real = builder.tensor("hidden", DType.FLOAT32, (1, 2))
    builder.op("DEQUANTIZE", [hidden], [real])
    y = builder.tensor("y", DType.FLOAT32, (1, 2))
    builder.op("NEG", [real], [y])
    return builder.finish([y])


def expected_output(sample: np.ndarray) -> np.ndarray:
    codes = quantize(sample, INPUT)
    accumulator = codes.astype(np.int64) @ WEIGHT_CODES.T.astype(np.int64)
    real = accumulator * (1 / 64) * float(np.float32(WEIGHT_SCALE))
    return dequantize(quantize(np.maximum(real, 0), OUTPUT), OUTPUT)


@pytest.mark.parametrize("float_io", [True, False])
def test_errors_are_what_they_are_defined_to_be(float_io: bool) -> None:
    report = compare_quantized(float_model(), quantized_model(float_io=float_io), DATA)
    row, negative = report.tensors
    assert (row.op_name, row.tensor_name, row.float_name, row.dtype) == ("FULLY_CONNECTED", "hidden1", "hidden", "int8")
    assert (row.elements, row.scale, row.zero_point) == (2, float(np.float32(1 / 50)), 10)
    fed = [sample if float_io else dequantize(quantize(sample, INPUT), INPUT) for sample in DATA]
    for error, inputs in ((row.own, fed), (row.total, DATA)):
        assert error is not None
        references = [np.maximum(sample.astype(np.float64) @ WEIGHTS.T, 0) for sample in inputs]
        differences = [expected_output(s) - reference for s, reference in zip(DATA, references, strict=True)]
        noise, signal = np.square(differences).sum(), np.square(references).sum()
        assert error.sqnr == pytest.approx(10 * math.log10(signal / noise), rel=1e-4)
        assert error.mean == pytest.approx(np.mean([d.mean() for d in differences]), rel=1e-4)
        assert error.stddev == pytest.approx(np.mean([d.std() for d in differences]), rel=1e-4)
        assert error.max_abs == pytest.approx(np.mean([abs(d).max() for d in differences]), rel=1e-4)
        assert error.mean_squared == pytest.approx(np.mean(np.square(differences)), rel=1e-4)
        assert error.rmse == pytest.approx(math.sqrt(np.mean(np.square(differences))), rel=1e-4)
        assert error.largest == pytest.approx(np.abs(differences).max(), rel=1e-4)
    assert row.own is not None
    assert row.rmse_in_steps == pytest.approx(row.own.rmse * 50)
    assert (negative.scale, negative.rmse_in_steps, negative.clipped_high) == (None, None, 0)
    assert negative.own is not None
    assert negative.own.sqnr == math.inf
    assert negative.total == report.outputs[0].error
    assert (report.worst, report.sqnr) == (row, negative.total.sqnr)


def test_values_beyond_all_codes_are_counted() -> None:
    """The highest code, 127, stands for (127 - 10) / 50 = 2.34."""
    data = np.array([[[1.5, 0, 0]], [[1.98, -0.73, 0]], [[1.98, -0.74, 0.04]], [[1.98, -0.9, 0]]], np.float32)
    report = compare_quantized(float_model(), quantized_model(), data)
    real = [float(np.maximum(WEIGHTS @ sample[0], 0)[0]) for sample in data]
    assert [value > 2.35 for value in real] == [False, False, True, True]
    assert (report.tensors[0].clipped_low, report.tensors[0].clipped_high) == (0, 2 / 8)


def test_a_model_is_exactly_itself() -> None:
    report = compare_quantized(residual(), residual(), images(3))
    assert [row.op_name for row in report.tensors] == ["CONV_2D", "CONV_2D", "ADD", "RESHAPE", "SOFTMAX"]
    assert report.sqnr == math.inf
    assert report.worst is None
    assert all(row.own is not None and row.own.sqnr == math.inf and row.total.largest == 0 for row in report.tensors)
    assert "inf dB" in report.summary()


def test_what_nothing_reads_is_left_out() -> None:
    """The AI Edge Quantizer leaves such parts of an int8 SPLIT float32, and codes land in them."""

    def halves(*, quantized: bool) -> fbs.Model:
        builder = fbs.Builder()
        kind = {"scale": 0.5} if quantized else {}
        dtype = DType.INT8 if quantized else DType.FLOAT32
        x = builder.input("x", dtype, (1, 4), **kind)
        one = builder.tensor("one", dtype, (1, 2), **kind)
        two = builder.tensor("two", DType.FLOAT32, (1, 2))
        axis = builder.constant("axis", np.array(1, np.int32))
        builder.op("SPLIT", [axis, x], [one, two], num_splits=2)
        return builder.finish([one])

    report = compare_quantized(halves(quantized=False), halves(quantized=True), [np.ones((1, 4), np.float32)])
    assert [row.tensor_name for row in report.tensors] == ["one"]


def test_an_op_with_state_has_no_error_of_its_own() -> None:
    report = compare_quantized(remembering(), remembering(), np.ones((3, 1, 1), np.float32))
    assert [(row.own, row.total.sqnr) for row in report.tensors] == [(None, math.inf)]


def test_forms() -> None:
    report = compare_quantized(float_model(), quantized_model(), DATA)
    plain = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert (plain["samples"], plain["worst"], len(plain["tensors"])) == (6, report.tensors[0].tensor_index, 2)
    assert plain["tensors"][1]["own"]["sqnr"] == "inf"
    for text in (report.summary(), report._repr_html_()):
        assert "hurts most: op 1 FULLY_CONNECTED" in text
        assert f"{report.sqnr:.1f} dB" in text
        assert "hidden1" in text
    (row,) = csv.DictReader(io.StringIO(report.to_csv()))
    assert tuple(row) == DEBUGGER_COLUMNS
    assert (row["op_name"], row["num_elements"], row["scale"], row["zero_point"]) == (
        "FULLY_CONNECTED",
        "2.0",
        "0.02",
        "10",
    )


def test_progress_and_order_of_samples() -> None:
    told: list[tuple[int, int | None]] = []
    compare_quantized(float_model(), quantized_model(), DATA[:2], progress=lambda *done: told.append(done))
    assert told == [(1, 2), (2, 2)]


def test_models_that_do_not_belong_together() -> None:
    with pytest.raises(InputError, match="no op in common"):
        compare_quantized(residual(), quantized_model(), images(1))
    with pytest.raises(InputError, match="no op in common"):
        compare_quantized(two_layers(), two_layers(), np.zeros((1, 1, 4), np.int8))
    with pytest.raises(InputError, match="input 'x': expected shape"):
        compare_quantized(float_model(), quantized_model(), images(1))


# --- Pairs ------------------------------------------------------------------------------------------------------------


def graph(*ops: tuple[str, str, str], inputs: str = "x", outputs: str = "y") -> fbs.Subgraph:
    """Build a graph of ops with one input and one output, all of shape (1, 2)."""
    builder, numbers = fbs.Builder(), {}
    for name in dict.fromkeys([*inputs.split(), *(name for _, *names in ops for name in names)]):
        numbers[name] = (builder.input if name in inputs.split() else builder.tensor)(name, DType.FLOAT32, (1, 2))
    for op, source, target in ops:
        builder.op(op, [numbers[source]], [numbers[target]])
    return builder.finish([numbers[name] for name in outputs.split()]).subgraphs[0]


FLOAT = graph(("RELU", "x", "a"), ("NEG", "a", "b"), ("RELU", "b", "y"))


def test_equal_sequences_pair_by_position_whatever_the_names() -> None:
    other = graph(
        ("QUANTIZE", "x", "q"), ("RELU", "q", "k"), ("NEG", "k", "l"), ("RELU", "l", "m"), ("DEQUANTIZE", "m", "y")
    )
    assert pair_ops(FLOAT, other) == [OpPair(0, 1), OpPair(1, 2), OpPair(2, 3)]


def test_other_sequences_pair_by_name() -> None:
    other = graph(
        ("RELU", "x", "b_int8"), ("RELU", "b_int8", "y1"), ("NEG", "y1", "b2"), ("ABS", "b2", "a"), ("RELU", "a", "y")
    )
    assert pair_ops(FLOAT, other) == [OpPair(2, 1), OpPair(1, 2)]


def test_inputs_and_outputs_pair_by_name_then_by_position() -> None:
    one, two = graph(("RELU", "a", "y"), inputs="a b"), graph(("RELU", "a", "y"), inputs="b a")
    assert pair_inputs(one, two) == [1, 0]
    assert pair_inputs(one, graph(("RELU", "b", "y"), inputs="b c")) == [0, 1]
    both = graph(("RELU", "a", "y"), ("NEG", "y", "z"), inputs="a", outputs="y z")
    assert pair_outputs(both, graph(("RELU", "a", "z"), ("NEG", "z", "y"), inputs="a", outputs="z y")) == [1, 0]
    with pytest.raises(InputError, match="same number of outputs, found 2 and 1"):
        pair_outputs(both, one)


def test_ops_without_a_counterpart_are_listed() -> None:
    def model(subgraph: fbs.Subgraph) -> fbs.Model:
        return fbs.Model((subgraph,))

    other = graph(("RELU", "x", "a"), ("ABS", "a", "c"), ("NEG", "c", "b"), ("RELU", "b", "y"))
    report = compare_quantized(model(FLOAT), model(other), np.ones((1, 1, 2), np.float32))
    assert report.unmatched == ("1 ABS",)
    assert "not in the float model: 1 ABS" in report.summary()


# --- Real models ------------------------------------------------------------------------------------------------------


@pytest.mark.shared
def test_the_debugger_finds_the_same(shared: Path) -> None:
    """TFLite's debugger compares AVERAGE_POOL_2D, whose output has its input's scale, with itself."""
    folder = shared / "converter"
    names = [folder / f"convnet.{kind}" for kind in ("float32.tflite", "int8_floatio.tflite", "repdata.npz")]
    found = list(csv.DictReader(io.StringIO(compare_quantized(*names).to_csv())))
    wanted = list(csv.DictReader((folder / "convnet.quantdebug.csv").read_text().splitlines()))
    assert len(found) == len(wanted) == 8
    for ours, theirs in zip(found, wanted, strict=True):
        assert all(ours[name] == theirs[name] for name in ("op_name", "num_elements", "scale", "zero_point"))
        if ours["op_name"] != "AVERAGE_POOL_2D":
            for name in ("stddev", "max_abs_error"):
                assert float(ours[name]) == pytest.approx(float(theirs[name]), rel=0.05)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("kind", "least"),
    [
        ("int8", 38),
        ("int8_uint8io", 38),
        ("int8_oldq", 38),
        ("int16x8", 48),
        ("float16", 68),
        ("aeq_static_wi8_ai8", 26),
        ("aeq_weight_only_wi8_afp32", 45),
    ],
)
def test_every_form_of_a_model_is_matched(kind: str, least: float, shared: Path) -> None:
    folder = shared / "converter"
    report = compare_quantized(
        folder / "convnet.float32.tflite", folder / f"convnet.{kind}.tflite", folder / "convnet.repdata.npz"
    )
    assert len(report.tensors) == 8
    assert not report.unmatched
    assert least < report.sqnr < 80


def test_ideal_is_that_of_rounding() -> None:
    assert pytest.approx(0.2887, abs=1e-4) == IDEAL_RMSE

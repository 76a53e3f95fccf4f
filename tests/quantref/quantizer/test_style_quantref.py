"""Style quantref: what it decides, op by op."""

from __future__ import annotations

import numpy as np
import pytest

import fbs
from qmath.affine import dequantize
from qmath.errors import InputError, UnsupportedError
from qmath.types import DType
from quantref.quantizer import Range, Recipe, Rule, Statistics, plan, quantize
from quantref.quantizer.request import Mode
from tests.quantref.quantizer.small_graphs import FloatGraphBuilder, ops, params, statistics, tensor
from tests.quantref.quantizer.trained_models import DENSE_RANGE, trained_model

STEP = 2 / 255


def joined(*, also_read: bool = False, pooled: bool = False) -> fbs.Model:
    """Two layers joined; the first also read elsewhere, or reshaped before."""
    g = FloatGraphBuilder()
    x = g.input()
    first, second = g.dense(x, "first"), g.dense(x, "second")
    source = (
        g.op("RESHAPE", [first, g.builder.constant("shape", np.array([1, 4], np.int32))], "moved") if pooled else first
    )
    outputs = [g.join([source, second], "joined")]
    if also_read:
        outputs.append(g.dense(first, "third"))
    return g.finish(*outputs)


def test_layers_give_what_is_joined_with_the_parameters_of_the_whole() -> None:
    model = joined()
    quantized = quantize(model, mode="int8", statistics=statistics(model, second=(-2, 2), joined=(-2, 2)))
    assert ops(quantized) == ["QUANTIZE", "FULLY_CONNECTED", "FULLY_CONNECTED", "CONCATENATION", "DEQUANTIZE"]
    assert params(quantized, "first") == params(quantized, "second") == (pytest.approx(2 * STEP), -1)


def test_so_do_layers_behind_ops_that_only_move_codes() -> None:
    model = joined(pooled=True)
    quantized = quantize(model, mode="int8", statistics=statistics(model, joined=(-2, 2)))
    assert ops(quantized).count("QUANTIZE") == 1
    assert params(quantized, "first") == params(quantized, "moved") == (pytest.approx(2 * STEP), -1)


def test_a_value_that_others_read_keeps_its_own_parameters() -> None:
    model = joined(also_read=True)
    quantized = quantize(model, mode="int8", statistics=statistics(model, joined=(-2, 2)))
    assert ops(quantized).count("QUANTIZE") == 2
    assert params(quantized, "first")[0] == pytest.approx(STEP)
    assert params(quantized, "first_int8")[0] == pytest.approx(2 * STEP)


def test_an_output_of_the_graph_keeps_its_own_parameters() -> None:
    g = FloatGraphBuilder()
    first = g.dense(g.input(), "first")
    model = g.finish(first, g.join([first, first], "joined"))
    quantized = quantize(
        model, mode="int8", statistics=statistics(model, joined=(-2, 2)), input_type="int8", output_type="int8"
    )
    assert ops(quantized) == ["FULLY_CONNECTED", "QUANTIZE", "CONCATENATION"]
    assert params(quantized, "first")[0] == pytest.approx(STEP)


def test_prescribed_parameters_hold_and_only_a_quantize_leads_from_them() -> None:
    g = FloatGraphBuilder()
    x = g.input()
    model = g.finish(g.join([g.op("LOGISTIC", [x], "sigmoid"), g.op("TANH", [x], "tanh")], "joined"))
    quantized = quantize(model, mode="int8", statistics=statistics(model))
    assert params(quantized, "sigmoid") == (1 / 256, -128)
    assert params(quantized, "tanh") == (1 / 128, 0)
    assert ops(quantized) == ["QUANTIZE", "LOGISTIC", "TANH", "QUANTIZE", "QUANTIZE", "CONCATENATION", "DEQUANTIZE"]


def unsupported() -> fbs.Model:
    g = FloatGraphBuilder()
    y = g.dense(g.input(), "first")
    y = g.op("COS", [y], "cos")
    y = g.dense(y, "second")
    return g.finish(g.op("SUM", [y, g.builder.constant("axis", np.array([1], np.int32))], "sum", (1,)))


def test_integer_only_lists_every_op_that_cannot_be_and_why() -> None:
    model = unsupported()
    with pytest.raises(UnsupportedError) as error:
        quantize(model, mode="int8", statistics=statistics(model), input_type="int8")
    assert "found 2 that cannot" in str(error.value)
    assert "op 1 (COS) giving 'cos': no runtime has an integer COS" in str(error.value)
    assert "op 3 (SUM) giving 'sum': LiteRT reads" in str(error.value)
    with pytest.raises(UnsupportedError, match="found 2 that cannot"):
        quantize(model, mode="int8", statistics=statistics(model), fallback=False)


def test_float_fallback_goes_through_float_and_back() -> None:
    model = unsupported()
    quantized = quantize(model, mode="int8", statistics=statistics(model))
    assert ops(quantized) == [
        *("QUANTIZE", "FULLY_CONNECTED", "DEQUANTIZE", "COS", "QUANTIZE", "FULLY_CONNECTED", "DEQUANTIZE", "SUM"),
    ]
    forms = [(op.op, op.form) for op in plan(model, mode="int8").ops]
    assert forms == [("FULLY_CONNECTED", "int8"), ("COS", "float32"), ("FULLY_CONNECTED", "int8"), ("SUM", "float32")]
    kept = quantize(model, mode="int8", statistics=statistics(model), input_type="int8", fallback=True)
    assert ops(kept)[0] == "FULLY_CONNECTED"


def test_what_nothing_is_known_of_stays_float_or_is_refused() -> None:
    g = FloatGraphBuilder()
    model = g.finish(g.dense(g.dense(g.input(), "first"), "second"))
    known = Statistics({"x": Range(-1, 1), "second": Range(-1, 1)})
    quantized = quantize(model, mode="int8", statistics=known)
    assert ops(quantized) == ["FULLY_CONNECTED"] * 2
    with pytest.raises(UnsupportedError, match="nothing is known of the range of 'first'"):
        quantize(model, mode="int8", statistics=known, fallback=False)
    with pytest.raises(InputError, match="expected statistics or a representative dataset, found neither"):
        quantize(model, mode="int8")


def test_a_value_that_only_moves_on_has_the_range_that_it_has_there() -> None:
    g = FloatGraphBuilder()
    first = g.dense(g.input(), "first")
    model = g.finish(g.op("RESHAPE", [first, g.builder.constant("shape", np.array([1, 4], np.int32))], "moved"))
    known = Statistics({"x": Range(-1, 1), "moved": Range(-2, 2)})
    assert params(quantize(model, mode="int8", statistics=known, fallback=False), "first")[0] == pytest.approx(2 * STEP)


def test_modes_of_single_ops() -> None:
    g = FloatGraphBuilder()
    model = g.finish(g.dense(g.dense(g.dense(g.input(), "first"), "second"), "third"))
    recipe = Recipe((Rule(tensor="second", mode=Mode.INT16X8), Rule(tensor="third", mode=Mode.FLOAT32)))
    quantized = quantize(model, mode="int8", statistics=statistics(model), recipe=recipe)
    assert ops(quantized) == [
        "QUANTIZE",
        "FULLY_CONNECTED",
        "QUANTIZE",
        *["FULLY_CONNECTED", "DEQUANTIZE"],
        "FULLY_CONNECTED",
    ]
    types = [tensor(quantized, name).dtype for name in ("first", "second", "second/b", "third/w")]
    assert types == [DType.INT8, DType.INT16, DType.INT64, DType.FLOAT32]
    reasons = {op.output: op.reason for op in plan(model, mode="int8", recipe=recipe).ops}
    assert reasons == {"first": "", "second": "", "third": "the recipe keeps it float"}


def test_weights_of_single_ops() -> None:
    g = FloatGraphBuilder()
    model = g.finish(g.dense(g.dense(g.input(), "first"), "second"))
    recipe = Recipe((Rule(tensor="second", mode=Mode.WEIGHT_ONLY),))
    quantized = quantize(model, mode="float32", recipe=recipe)
    assert ops(quantized) == ["FULLY_CONNECTED", "DEQUANTIZE", "FULLY_CONNECTED"]
    assert [op.form for op in plan(model, mode="float32", recipe=recipe).ops] == ["float32", "int8 weights"]


@pytest.mark.parametrize(("mode", "bits", "expected"), [("int8", None, 32), ("16x8", None, 64), ("16x8", 32, 32)])
def test_biases(mode: str, bits: int | None, expected: int) -> None:
    g = FloatGraphBuilder()
    model = g.finish(g.dense(g.input(), "y", bias=0.3))
    quantized = quantize(model, mode=mode, statistics=statistics(model), bias_bits=bits)
    (layer,) = [op for op in quantized.subgraphs[0].operators if op.name == "FULLY_CONNECTED"]
    x, weights, bias = (quantized.subgraphs[0].tensors[index] for index in layer.inputs)
    assert x.quant is not None
    assert weights.quant is not None
    assert bias.quant is not None
    assert bias.dtype.bits == expected
    step = x.quant.scale.astype(np.float64) * weights.quant.scale
    np.testing.assert_allclose(bias.quant.scale, step, rtol=1e-6)
    assert np.all(np.abs(bias.data * step - np.float32(0.3)) <= 0.501 * step)


def test_weights_of_a_layer_with_a_huge_bias_get_a_wider_scale() -> None:
    """A bias of a million steps of 1e-9 does not fit int32: the weights give up resolution, the bias stays right."""
    g = FloatGraphBuilder()
    model = g.finish(g.dense(g.input(), "y", bias=1000.0, weight=1e-5))
    quantized = quantize(model, mode="int8", statistics=statistics(model, y=(999, 1001)))
    bias = tensor(quantized, "y/b")
    assert bias.quant is not None
    np.testing.assert_allclose(bias.data * bias.quant.scale.astype(np.float64), 1000, rtol=1e-6)
    assert abs(int(bias.data[0])) > 2**29


@pytest.mark.parametrize("weight_bits", [8, 4])
def test_every_weight_is_the_nearest_code(weight_bits: int) -> None:
    g = FloatGraphBuilder()
    model = g.finish(g.dense(g.input(), "y"))
    quantized = quantize(model, mode="int8", statistics=statistics(model), weight_bits=weight_bits)
    weights = tensor(quantized, "y/w")
    assert weights.quant is not None
    assert (weights.dtype.bits, set(weights.quant.zero_point)) == (weight_bits, {0})
    real = tensor(model, "y/w").data
    scale = weights.quant.scale[:, None].astype(np.float64)
    assert np.all(np.abs(dequantize(weights.data, weights.quant) - real) <= scale * 0.5001)
    limit = 2 ** (weight_bits - 1) - 1
    np.testing.assert_allclose(scale[:, 0], np.abs(real).max(axis=1) / limit, rtol=1e-6)


@pytest.mark.parametrize("io", ["int8", "uint8"])
def test_integer_inputs_and_outputs_keep_their_names(io: str) -> None:
    g = FloatGraphBuilder()
    model = g.finish(g.dense(g.input(), "y"))
    quantized = quantize(model, mode="int8", statistics=statistics(model), input_type=io, output_type=io)
    subgraph = quantized.subgraphs[0]
    ends = [subgraph.tensors[index] for index in (*subgraph.inputs, *subgraph.outputs)]
    assert [end.name for end in ends] == ["x", "y"]
    assert {end.dtype.name.lower() for end in ends} == {io}
    assert ops(quantized).count("QUANTIZE") == (2 if io == "uint8" else 0)


def test_ranges_from_training_count_before_statistics_and_weights_are_symmetric() -> None:
    model = trained_model(narrow=False, input_range=True)
    quantized = quantize(model, mode="int8", input_type="int8", output_type="int8")
    low, high = DENSE_RANGE
    assert params(quantized, "dense")[0] == pytest.approx((high - low) / 255, rel=1e-6)
    weights = tensor(quantized, "conv/w")
    assert weights.quant is not None
    assert set(weights.quant.zero_point) == {0}
    assert "FAKE_QUANT" not in ops(quantized)

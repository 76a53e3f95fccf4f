"""One element, every step."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import fbs
import quantref as qr
from qmath.affine import dequantize
from qmath.errors import InputError, UnsupportedError
from qmath.types import DType
from quantref.runtimes import LiteRT, litert_installed
from tests.meta.documents import blocks
from tests.meta.house import ROOT
from tests.oracles.calculator import press
from tests.quantref.small_models import custom_op, float_layer, two_layers, with_state

#: The scales of a question that nobody had answered: https://github.com/tensorflow/tensorflow/issues/102943
INPUT, FILTER, OUTPUT = 0.05296124517917633, 0.024093778803944588, 0.11484327912330627


def riddle() -> fbs.Model:
    """Build a CONV_2D of one product, which is 585, in two channels: XNNPACK takes one for a depthwise convolution."""
    builder = fbs.Builder()
    x = builder.input("x", DType.INT8, (1, 1, 1, 1), scale=INPUT, zero_point=-128)
    w = builder.constant("w", np.full((2, 1, 1, 1), 13, np.int8), scale=[FILTER])
    b = builder.constant("b", np.zeros(2, np.int32), scale=[INPUT * FILTER])
    y = builder.tensor("y", DType.INT8, (1, 1, 1, 2), scale=OUTPUT, zero_point=-126)
    builder.op("CONV_2D", [x, w, b], [y], version=3, stride_w=1, stride_h=1)
    return builder.finish([y])


CODE = np.full((1, 1, 1, 1), 45 - 128, np.int8)


def explain_riddle(profile: str) -> qr.Explanation:
    return qr.explain(riddle(), {"x": CODE}, tensor="y", index=(0, 0, 0, 0), profile=profile)


def test_the_riddle_under_the_reference() -> None:
    explanation = explain_riddle("litert-reference")
    steps = {step.stage: step for step in explanation.steps}
    assert explanation.output.value == -119
    assert steps["accumulator"].value == 585
    assert steps["multiplier"].value == 1527099593
    assert steps["shift"].value == -6
    assert steps["high multiply"].numbers == "half_up(585 * 1527099593 / 2**31)"
    assert steps["high multiply"].value == 416
    assert steps["shifted right"].remark == "416 / 2**6 = 6.5, a tie"
    assert steps["shifted right"].bits == "0110 | 10 0000"
    assert steps["shifted right"].value == 7
    assert explanation.unrounded == pytest.approx(6.500000468, abs=1e-9)


def test_the_riddle_under_xnnpack() -> None:
    """A float32 product of 6.50000016 is 6.5; a tie, which goes to the even 6."""
    explanation = explain_riddle("xnnpack")
    steps = {step.stage: step for step in explanation.steps}
    assert explanation.output.value == -120
    assert steps["product"].value == 6.5
    assert steps["product"].remark == "6.500000157393... before it is rounded to float32"
    assert steps["rounded"].remark == "6.5 is a tie"
    assert {row.name: row.value for row in explanation.regimes}["single rounding"] == -119
    assert {row.name: row.value for row in explanation.profiles}["litert-reference"] == -119


@pytest.mark.litert
@pytest.mark.skipif(not litert_installed(), reason="ai-edge-litert is not installed")
@pytest.mark.parametrize("runtime", ["litert-reference", "litert-optimized", "xnnpack"])
def test_the_riddle_is_what_the_runtimes_do(runtime: str) -> None:
    with LiteRT(runtime) as litert:
        (answer,) = litert.run(fbs.write(riddle()), [[CODE]])
    value = explain_riddle(runtime).output.value
    assert answer.outputs[0].ravel().tolist() == [value, value]


def test_text_is_the_whole_story() -> None:
    text = str(explain_riddle("litert-reference"))
    assert text.startswith("y[0, 0, 0, 0] = -119, op 0 CONV_2D of model under litert-reference\n")
    for line in (
        "  [0, 0, 0, 0]    -83         45  [0, 0, 0, 0]     13      585",
        "  sum of 1 product = 585",
        "  multiplier = half_away(significand * 2**31)",
        "             = 1527099593 (0x5B05B0C9)",
        "  shifted right = half_away(product / 2**right) = half_away(416 / 2**6) = 7",
        "  zero point added = scaled + zero_point = 7 + -126 = -119",
        "  double rounding (fixed point, rounds twice: ties up, then ties away from zero) gives -119; so do",
        "  ->  litert-reference         -119  double rounding",
        "      xnnpack                  -120  float32 half even",
    ):
        assert f"\n{line}\n" in text
    assert max(map(len, text.splitlines())) < 120


def test_markdown_json_and_html() -> None:
    explanation = explain_riddle("litert-reference")
    markdown = explanation.to_markdown()
    assert "### Step by step" in markdown
    assert markdown.count("```") == 2 * 6
    plain = json.loads(json.dumps(explanation.to_json(), allow_nan=False))
    assert plain["output"]["value"] == -119
    assert plain["sum"]["products"][0]["factors"][0]["role"] == "input"
    assert explanation._repr_html_().count("<table>") == 4


def test_long_sums_are_abbreviated_in_text_alone() -> None:
    builder = fbs.Builder()
    x = builder.input("x", DType.INT8, (1, 100), scale=0.5)
    w = builder.constant("w", np.arange(-50, 50, dtype=np.int8).reshape(1, 100), scale=0.01)
    y = builder.tensor("y", DType.INT8, (1, 1), scale=8.0)
    builder.op("FULLY_CONNECTED", [x, w, None], [y], version=4)
    codes = np.arange(100, dtype=np.int8).reshape(1, 100)
    explanation = qr.explain(builder.finish([y]), {"x": codes}, tensor="y", index=(0, 0))
    text = str(explanation)
    assert "... 92 more ..." in text
    assert "[0, 3]" in text
    assert "[0, 50]" not in text
    products = explanation.to_json()["sum"]["products"]
    assert sum(product["value"] for product in products) == explanation.sum.value
    assert len(products) == 100


def test_an_element_of_the_second_layer() -> None:
    """The op is explained on what the op before it gave."""
    model, x = two_layers(), np.array([[3, -7, 100, 20]], np.int8)
    explanation = qr.explain(model, {"x": x}, tensor="y", index=(0, -1))
    hidden = qr.trace(model, {"x": x}).tensor("hidden")
    assert [product.factors[0].value for product in explanation.sum.products] == hidden[0].tolist()
    assert explanation.output.value == qr.run(model, {"x": x})["y"][0, 1]
    assert explanation.output.index == (0, 1)


def test_tensors_by_name_and_number() -> None:
    x = {"x": np.zeros((1, 4), np.int8)}
    same = [qr.explain(two_layers(), x, tensor=tensor, index=(0, 0)) for tensor in ("hidden", 3, "3:hidden")]
    assert same[0] == same[1] == same[2]


def test_padding_is_counted(data: Path) -> None:
    model = qr.load(data / "digits_int8.tflite")
    name = model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]].name
    first = model.subgraphs[0].operators[0].outputs[0]
    explanation = qr.explain(model, {name: np.zeros((1, 8, 8, 1), np.int8)}, tensor=first, index=(0, 0, 0, 0))
    assert (len(explanation.sum.products), explanation.sum.padding) == (4, 5)


@pytest.mark.parametrize(
    ("tensor", "index", "message"),
    [
        ("nothing", (0, 0), "expected the name or number of a tensor, found 'nothing'"),
        (99, (0, 0), "expected a tensor below 7, found 99"),
        ("x", (0, 0), "found 'x', an input, constant or variable"),
        ("y", (0,), r"an element of shape \[1, 2\], found \[0\]"),
        ("y", (0, 2), r"an element of shape \[1, 2\], found \[0, 2\]"),
    ],
)
def test_what_cannot_be_explained(tensor: str | int, index: tuple[int, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        qr.explain(two_layers(), {"x": np.zeros((1, 4), np.int8)}, tensor=tensor, index=index)


def test_repeated_names_are_asked_for_by_number() -> None:
    model = two_layers(("same", "same"))
    with pytest.raises(InputError, match="expected one of 3:same, 6:same, found the name 'same', which repeats"):
        qr.explain(model, {"x": np.zeros((1, 4), np.int8)}, tensor="same", index=(0, 0))


def test_ops_that_do_not_matter_need_not_be_covered() -> None:
    builder = fbs.Builder()
    x = builder.input("x", DType.INT8, (1, 4), scale=0.5)
    y, z = (builder.tensor(name, DType.INT8, (1, 4), scale=0.5) for name in "yz")
    builder.custom("Mystery", [x], [y])
    builder.op("RELU", [x], [z])
    explanation = qr.explain(builder.finish([y, z]), {"x": np.full((1, 4), -3, np.int8)}, tensor="z", index=(0, 2))
    assert explanation.output.value == 0


def test_an_op_that_is_not_covered() -> None:
    with pytest.raises(UnsupportedError, match="no kernel for Mystery"):
        qr.explain(custom_op(), {"x": np.zeros((1, 4), np.int8)}, tensor="y", index=(0,))


def test_the_float_model_beside() -> None:
    """A float model that computes what the codes stand for."""
    quantized, x = two_layers(), np.array([[3, -7, 100, 20]], np.int8)
    tensors = quantized.subgraphs[0].tensors
    builder = fbs.Builder()
    current = builder.input("x", DType.FLOAT32, (1, 4))
    for weights, bias, name in ((1, 2, "hidden"), (4, 5, "y")):
        real = [dequantize(tensors[number].data, tensors[number].quant) for number in (weights, bias)]
        w, b = (builder.constant(f"{name}{number}", value) for number, value in enumerate(real))
        output = builder.tensor(name, DType.FLOAT32, (1, len(real[1])))
        builder.op("FULLY_CONNECTED", [current, w, b], [output])
        current = output
    float_model = builder.finish([current])
    explanation = qr.explain(quantized, {"x": x}, tensor="hidden", index=(0, 1), float_model=float_model)
    expected = qr.run(float_model, {"x": dequantize(x, tensors[0].quant)})
    assert explanation.float_value is not None
    weights = dequantize(tensors[1].data, tensors[1].quant)
    real = dequantize(x, tensors[0].quant)[0] @ weights[1] + dequantize(tensors[2].data, tensors[2].quant)[1]
    assert explanation.float_value.value == pytest.approx(float(real), rel=1e-6)
    assert expected["y"].shape == (1, 2)
    assert "the float model gives" in str(explanation)


def test_a_float_model_without_the_tensor() -> None:
    builder = fbs.Builder()
    x = builder.input("other", DType.FLOAT32, (1, 4))
    y = builder.tensor("z", DType.FLOAT32, (1, 4))
    builder.op("RELU", [x], [y])
    explanation = qr.explain(
        two_layers(), {"x": np.zeros((1, 4), np.int8)}, tensor="y", index=(0, 0), float_model=builder.finish([y])
    )
    assert explanation.float_value is not None
    assert explanation.float_value.remark == "it has no tensor named 'y'"


def test_floats_and_ops_with_state() -> None:
    layer = qr.explain(float_layer(), {"x": np.ones((1, 64), np.float32)}, tensor="y", index=(0, 3))
    assert not layer.sum.exact
    svdf = qr.explain(with_state(), {"x": np.array([[1, 2, 3, 4]], np.int8)}, tensor="y", index=(0, 1))
    assert svdf.steps[-1].value == svdf.output.value


def test_where_an_element_was_moved_from() -> None:
    builder = fbs.Builder()
    x = builder.input("x", DType.INT8, (3, 500), scale=0.5)
    y = builder.tensor("y", DType.INT8, (500, 3), scale=0.5)
    builder.op("TRANSPOSE", [x, builder.constant("axes", np.array([1, 0], np.int32))], [y])
    codes = np.random.default_rng(0).integers(-128, 128, (3, 500)).astype(np.int8)
    explanation = qr.explain(builder.finish([y]), {"x": codes}, tensor="y", index=(471, 2))
    assert [(source.role, source.index) for source in explanation.sources] == [("input", (2, 471))]


def test_each_input_of_an_elementwise_op_has_its_element() -> None:
    builder = fbs.Builder()
    shapes = ((2, 1, 3), (4, 1))
    a, b = (builder.input(name, DType.INT8, shape, scale=0.3) for name, shape in zip("ab", shapes, strict=True))
    y = builder.tensor("y", DType.INT8, (2, 4, 3), scale=0.7)
    builder.op("MUL", [a, b], [y], version=2)
    inputs = {name: np.full(shape, 7, np.int8) for name, shape in zip("ab", shapes, strict=True)}
    explanation = qr.explain(builder.finish([y]), inputs, tensor="y", index=(1, 3, 2))
    assert [(source.tensor, source.index) for source in explanation.sources] == [("a", (1, 0, 2)), ("b", (3, 0))]
    (real,) = (step for step in explanation.steps if step.stage == "real multiplier")
    assert real.rule == "float32(float32(input_1_scale * input_2_scale) / output_scale)"
    assert press(real.numbers) == real.value


def test_the_document_shows_what_is_printed() -> None:
    printed = "\n".join(f"{explain_riddle(profile)}\n" for profile in ("litert-reference", "xnnpack"))
    shown = [block for block in blocks(ROOT / "docs/explain.md") if block.language == "text"]
    assert len(shown) == 3
    for block in shown:
        assert block.text in printed

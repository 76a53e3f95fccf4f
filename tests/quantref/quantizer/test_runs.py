"""Whole models: what is written loads in LiteRT and runs there with the same integers as in quantref."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fbs
from qmath.errors import UnsupportedError
from quantref.quantizer import Statistics, TFLiteStyle, quantize, statistics_from_calibrated
from quantref.runtimes import LiteRT
from quantref.samples import random_samples
from tests.one_op import compare
from tests.quantref.quantizer.small_graphs import SHAPE
from tests.quantref.quantizer.test_quantize import open_batch, with_branches

#: By name: what is asked for.
ASKED: dict[str, dict[str, Any]] = {
    "int8": {"mode": "int8", "fallback": True},
    "int8 io": {"mode": "int8", "input_type": "int8", "output_type": "int8", "fallback": True},
    "uint8 io": {"mode": "int8", "input_type": "uint8", "output_type": "uint8", "fallback": True},
    "int4 weights": {"mode": "int8", "weight_bits": 4, "fallback": True},
    "16x8": {"mode": "16x8", "fallback": True},
    "16x8 io, 32-bit biases": {
        "mode": "16x8",
        "input_type": "int16",
        "output_type": "int16",
        "bias_bits": 32,
        "fallback": True,
    },
    "dynamic": {"mode": "dynamic"},
    "int4": {"mode": "int4"},
    "weight-only": {"mode": "weight-only"},
    "float16": {"mode": "float16"},
}


def calibrated(shared: Path, name: str) -> tuple[fbs.Model, Statistics]:
    folder = shared / "converter"
    model = fbs.read(folder / f"{name}.float32.tflite")
    return model, statistics_from_calibrated(fbs.read(folder / f"{name}.calibrated.tflite"))


@pytest.mark.shared
@pytest.mark.litert
@pytest.mark.parametrize("name", ["convnet", "edge", "lstm", "mixed16", "ties"])
@pytest.mark.parametrize("asked", ASKED)
def test_style_quantref_runs_with_the_same_integers(name: str, asked: str, shared: Path, litert: LiteRT) -> None:
    model, statistics = calibrated(shared, name)
    needed = {"statistics": statistics} if "8" in ASKED[asked]["mode"] else {}
    quantized = quantize(model, **ASKED[asked], **needed)
    assert compare(quantized, random_samples(quantized, 2), litert)


@pytest.mark.shared
@pytest.mark.litert
@pytest.mark.parametrize(
    ("style", "mode", "names"),
    [
        ("tflite", "float16", ["convnet", "edge", "lstm", "mixed16", "ties"]),
        ("tflite", "dynamic", ["convnet", "edge", "lstm", "mixed16", "ties"]),
        ("aeq", "dynamic", ["convnet", "edge", "lstm", "mixed16", "ties"]),
        ("tflite", "int8", ["convnet", "lstm", "mixed16", "ties"]),
        ("tflite", "16x8", ["convnet", "mixed16", "ties"]),
        ("aeq", "int8", ["convnet", "ties"]),
        ("aeq", "16x8", ["convnet", "ties"]),
    ],
)
def test_the_tools_styles_run_with_the_same_integers(
    style: str, mode: str, names: list[str], shared: Path, litert: LiteRT
) -> None:
    for name in names:
        model, statistics = calibrated(shared, name)
        needed = {"statistics": statistics} if "8" in mode else {}
        quantized = quantize(model, mode=mode, style=style, **needed)
        assert compare(quantized, random_samples(quantized, 2), litert)


@pytest.mark.shared
@pytest.mark.litert
def test_real_models_run_with_the_same_integers(shared: Path, litert: LiteRT) -> None:
    for path in ("tflm/hello_world", "mlperf-tiny/resnet8", "mlperf-tiny/ad01", "mlperf-tiny/vww96"):
        model = fbs.read(shared / "models" / f"{path}_float32.tflite")
        data = random_samples(model, 2)
        for mode in ("int8", "16x8"):
            quantized = quantize(model, mode=mode, representative_dataset=data, fallback=False)
            assert compare(quantized, data, litert)


@pytest.mark.litert
def test_the_digits_network_runs_in_every_mode(data: Path, litert: LiteRT) -> None:
    model = fbs.read(data / "digits_float32.tflite")
    samples = random_samples(model, 4)
    for mode in ("float32", "dynamic", "int4", "weight-only", "float16", "int8", "16x8"):
        needed = {"representative_dataset": samples} if "8" in mode else {}
        quantized = quantize(model, mode=mode, **needed)
        assert compare(quantized, samples, litert)
    ranged = quantize(
        model,
        mode="uint8",
        input_type="uint8",
        output_type="uint8",
        input_stats=(127.5, 127.5),
        default_ranges=(-6.0, 6.0),
    )
    assert compare(ranged, random_samples(ranged, 4), litert)


@pytest.mark.shared
@pytest.mark.litert
@pytest.mark.parametrize("name", ["qat", "qatpc"])
@pytest.mark.parametrize(("mode", "io"), [("int8", None), ("int8", "uint8"), ("uint8", None), ("uint8", "uint8")])
def test_models_from_training_run_in_int8_and_uint8(
    name: str, mode: str, io: str | None, shared: Path, litert: LiteRT
) -> None:
    """Their weights come with asymmetric int8 codes, or a scale a channel for uint8: no kernel takes these."""
    model = fbs.read(shared / "converter" / f"{name}.float32_keepfq.tflite")
    quantized = quantize(model, mode=mode, input_type=io, output_type=io)
    assert compare(quantized, random_samples(quantized, 2), litert)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "mode", "fault"), [("qat", "int8", "the zero point -20"), ("qatpc", "uint8", "have a scale a channel")]
)
def test_the_converter_s_style_refuses_weights_that_no_kernel_takes(
    name: str, mode: str, fault: str, shared: Path
) -> None:
    model = fbs.read(shared / "converter" / f"{name}.float32_keepfq.tflite")
    with pytest.raises(UnsupportedError, match=f"its tool would write a model that does not run.*{fault}"):
        quantize(model, mode=mode, style="tflite")
    assert quantize(model, mode=mode, style=TFLiteStyle(faults=True)).subgraphs


@pytest.mark.litert
def test_control_flow_and_open_dimensions_run_with_the_same_integers(litert: LiteRT) -> None:
    rng = np.random.default_rng(1)
    rows = [rng.normal(size=SHAPE).astype(np.float32) for _ in range(4)]
    branches = quantize(with_branches(), mode="int8", representative_dataset=[[np.array([True]), row] for row in rows])
    assert compare(branches, [[np.array([chosen]), rows[0]] for chosen in (True, False)], litert)
    batches = quantize(open_batch(), mode="int8", representative_dataset=[[row] for row in rows])
    assert compare(batches, [[np.concatenate(rows[:count])] for count in (1, 3)], litert)

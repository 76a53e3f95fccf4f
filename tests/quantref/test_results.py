"""What every public result can do: be plain values, a few lines of text, and HTML that no name in a model breaks."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

import fbs
import quantref
from qmath.types import Array, DType
from quantref.inspect import inspect
from quantref.multipliers import multipliers
from quantref.profile_report import profile_report
from quantref.runtimes import litert_installed

HOSTILE = "<script>é&"
SAMPLES: Mapping[str, Array] = {HOSTILE: np.linspace(-1, 1, 32, dtype=np.float32).reshape(8, 4)}
CODES: Mapping[str, Array] = {HOSTILE: np.array([[1, 2, 3, 4]], np.int8)}


def layer(dtype: DType) -> fbs.Model:
    """Build a FULLY_CONNECTED op of tensors with a name that HTML would run."""
    b = fbs.Builder(description=HOSTILE)
    integer = dtype is DType.INT8
    quantization = {"scale": 0.5, "zero_point": -1} if integer else {}
    weights = (np.arange(12).reshape(3, 4) * 37 % 255 - 127).astype(dtype.storage)
    x, y = b.input(HOSTILE, dtype, (1, 4), **quantization), b.tensor(HOSTILE + "y", dtype, (1, 3), **quantization)
    w = b.constant(HOSTILE + "w", weights, **({"scale": 0.01} if integer else {}))
    b.op("FULLY_CONNECTED", [x, w], [y], version=4 if integer else 1)
    return b.finish([y])


def timed(model: fbs.Model) -> Any:
    interpreter = quantref.Interpreter(model)
    interpreter.allocate_tensors()
    return interpreter.profile_ops(2)


def quantized(model: fbs.Model) -> fbs.Model:
    return quantref.quantize(model, mode="int8", representative_dataset=SAMPLES)


INTEGER, FLOAT = layer(DType.INT8), layer(DType.FLOAT32)
RESULTS: dict[str, Callable[[], Any]] = {
    "verify": lambda: quantref.verify(INTEGER, samples=2),
    "verify_outputs": lambda: quantref.verify_outputs(INTEGER, quantref.run(INTEGER, CODES), CODES),
    "check": lambda: quantref.check(INTEGER),
    "trace": lambda: quantref.trace(INTEGER, CODES),
    "explain": lambda: quantref.explain(INTEGER, CODES, tensor=HOSTILE + "y", index=(0, 1)),
    "inspect": lambda: inspect(INTEGER),
    "multipliers": lambda: multipliers(INTEGER),
    "infer_profile": lambda: quantref.infer_profile(INTEGER, CODES, quantref.run(INTEGER, CODES)),
    "separate_profiles": lambda: quantref.separate_profiles(INTEGER, "litert-reference", "xnnpack"),
    "profile_report": lambda: profile_report("xnnpack"),
    "partition": lambda: quantref.partition(INTEGER, "xnnpack"),
    "profile_ops": lambda: timed(INTEGER),
    "calibrate": lambda: quantref.calibrate(FLOAT, SAMPLES),
    "compare_quantized": lambda: quantref.compare_quantized(FLOAT, quantized(FLOAT), SAMPLES),
    "leave_one_float": lambda: quantref.leave_one_float(FLOAT, SAMPLES),
    "optimize": lambda: quantref.optimize(FLOAT, prune=0.5),
}


@pytest.mark.parametrize("name", RESULTS)
def test_results_show_themselves(name):
    if name == "verify" and not litert_installed():
        pytest.skip("ai-edge-litert is not installed")
    result = RESULTS[name]()
    assert dataclasses.is_dataclass(result)
    assert type(result).__dataclass_params__.frozen
    assert json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert result.summary().strip()
    shown = result._repr_html_()
    assert "<" in shown
    assert "<script" not in shown
    assert "é&<" not in shown  # an ampersand of a name is escaped too

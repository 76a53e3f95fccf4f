"""Whole models of the converter against LiteRT: a few of those that ``python -m tests.models`` runs in full."""

from __future__ import annotations

import numpy as np
import pytest

from quantref import Interpreter
from quantref.runtimes import litert_installed
from tests.models import model_files, verify_file

#: What each has that others lack.
FILES = {
    "converter/edge.int8.tflite": "SUM of int8, which the reference kernel reads as bytes",
    "converter/convnet.int8_debug.tflite": "the custom op NumericVerify",
    "converter/lstm.int8.tflite": "an integer LSTM, whose state lives on",
    "converter/mixed16.int16x8.tflite": "16-bit activations",
    "converter/ties.aeq_dynamic_wi8_afp32.tflite": "floats that are quantized on the fly behind a TANH",
}


@pytest.mark.shared
@pytest.mark.litert
@pytest.mark.parametrize("file", FILES)
def test_every_tensor_is_equal(file, shared):
    if not litert_installed():
        pytest.skip("ai-edge-litert is not installed")
    result = verify_file(file, "litert-reference", "litert-reference", 3, shared)
    assert result.verdict == "equal", result.notes
    assert result.clean
    assert result.integers + result.floats > 100


@pytest.mark.shared
@pytest.mark.litert
def test_a_variable_that_is_filled_from_a_constant_once_lives_on(shared, litert):
    """DEQUANTIZE of a constant runs in the first invocation alone, and what the LSTM makes of its state stays."""
    path = shared / "converter" / "lstm.float16.tflite"
    interpreter = Interpreter(path)
    interpreter.allocate_tensors()
    (number,) = interpreter.graph.subgraph.inputs
    rng = np.random.default_rng(5)
    shape = interpreter.get_tensor(number).shape
    samples = [[rng.normal(size=shape).astype(np.float32)] for _ in range(3)]
    for sample, expected in zip(samples, litert.run(path.read_bytes(), samples), strict=True):
        interpreter.set_tensor(number, sample[0])
        interpreter.invoke()
        found = [interpreter.get_tensor(output) for output in interpreter.graph.subgraph.outputs]
        for one, other in zip(found, expected.outputs, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5)


@pytest.mark.shared
def test_files_are_found_by_part_of_their_path(shared):
    assert model_files("edge.int8_*", shared) == sorted(model_files("converter/edge.int8_*", shared))
    assert len(model_files("*", shared)) > 100

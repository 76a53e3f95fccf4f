"""Whole models of the converter against LiteRT: a few of those that ``python -m tests.models`` runs in full."""

from __future__ import annotations

import pytest

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
def test_files_are_found_by_part_of_their_path(shared):
    assert model_files("edge.int8_*", shared) == sorted(model_files("converter/edge.int8_*", shared))
    assert len(model_files("*", shared)) > 100

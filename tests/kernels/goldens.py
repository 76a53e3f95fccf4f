"""One-op models with stored inputs and the outputs of runtimes, from the folder of goldens."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import quantref
from quantref.difference import difference
from tests.one_op import run_ours


def assert_goldens_match(
    shared: Path, op: str, runtime: str = "litert_reference", profile: str = "litert-reference"
) -> int:
    """Run every golden of an op that the runtime ran under a profile, and return how many elements were compared.

    Goldens of several steps, whose leading axis is time, are not for this function.
    """
    elements = 0
    for path in sorted((shared / "goldens").glob(f"{op}__*.npz")):
        with np.load(path) as golden:
            expected = golden.get(f"{runtime}__output_0")
            inputs = [golden[f"input_{i}"] for i in range(len([key for key in golden if key.startswith("input_")]))]
        if expected is None:
            continue
        interpreter = quantref.Interpreter(path.with_suffix(".tflite"), profile=profile)
        interpreter.allocate_tensors()
        result = difference(expected, run_ours(interpreter, inputs)[0])
        assert result.mismatches == 0, f"{path.stem}: {result.mismatches} of {result.elements} differ; {result.first}"
        elements += result.elements
    assert elements > 0, "nothing was compared"
    return elements

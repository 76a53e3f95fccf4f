"""JSON and memory images hold the same numbers as the archives."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from quantref.vectors import Suite, generate
from tests.quantref.vectors.plans import CONV, small


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Suite:
    cells = [{"cells": [CONV, "ADD plain float32", "CAST bool to complex64", "ADD int16"]}]
    plan = small(formats=["json", "hex"], cells=cells, models=[], negative=[])
    return generate(plan, tmp_path_factory.mktemp("formats") / "suite")


def test_json_reads_back(suite: Suite) -> None:
    compared = 0
    for case in suite.cases():
        plain = json.loads(case.read("vectors.json"))
        expected = case.expected("litert-reference")
        for operand in plain["expected"]["litert-reference"]:
            for given, stored in zip(expected, operand["invocations"], strict=True):
                array = given[operand["name"]]
                assert stored["shape"] == list(array.shape)
                numbers = [complex(*x) if isinstance(x, list) else float(x) for x in stored["values"]]
                np.testing.assert_array_equal(np.array(numbers).astype(array.dtype).reshape(array.shape), array)
                compared += array.size
    assert compared > 100


def test_memory_images_read_back(suite: Suite) -> None:
    case = next(suite.cases("CONV_2D*"))
    for number, inputs in enumerate(case.inputs()):
        assert image(case.read(f"hex/in0_{number}.hex"))[: inputs["x"].nbytes] == inputs["x"].tobytes()
    for number, outputs in enumerate(case.expected("litert-reference")):
        found = image(case.read(f"hex/expected.litert-reference.out0_{number}.hex"))
        assert found[: outputs["y"].nbytes] == outputs["y"].tobytes()
        assert not any(found[outputs["y"].nbytes :])


def image(content: bytes) -> bytes:
    """Return the bytes of a memory image: words of 32 bits, the lowest byte first."""
    words = [line for line in content.decode().splitlines() if not line.startswith("//")]
    assert all(len(word) == 8 for word in words)
    return b"".join(int(word, 16).to_bytes(4, "little") for word in words)


def test_formats_lie_beside_the_archives(suite: Suite) -> None:
    case = next(suite.cases("ADD int16"))
    assert {"model.tflite", "inputs.npz", "expected.litert-reference.npz", "vectors.json"} <= set(case.files)
    assert (Path(suite.directory) / case.entry.place / "hex").is_dir()

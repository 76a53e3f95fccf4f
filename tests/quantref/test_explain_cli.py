"""The verbs ``trace`` and ``explain``, and ``inspect --multipliers``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import fbs
from quantref.cli import main
from quantref.npz import load_npz, save_npz
from tests.quantref.small_models import two_layers


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "two_layers.tflite"
    fbs.save(two_layers(), path)
    return path


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    path = tmp_path / "in.npz"
    save_npz(path, {"x": np.arange(12, dtype=np.int8).reshape(3, 4)})
    return path


@pytest.mark.parametrize("verb", ["explain", "trace"])
def test_help_has_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    assert f"quantref {verb}" in capsys.readouterr().out.split("Examples:")[1]


def test_explain(model: Path, inputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["explain", str(model), "--tensor", "y", "--at", "0,1", "--inputs", str(inputs), "--sample", "2"]
    assert main(arguments) == 0
    text = capsys.readouterr().out
    assert text.startswith("y[0, 1] = ")
    assert "of two_layers.tflite under litert-reference" in text
    assert main([*arguments, "--json"]) == 0
    plain = json.loads(capsys.readouterr().out)
    assert plain["steps"][-1]["value"] == plain["output"]["value"]
    assert main([*arguments, "--markdown"]) == 0
    assert "### Step by step" in capsys.readouterr().out


def test_a_tensor_by_number(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(model), "--tensor", "3", "--at", "0,0"]) == 0
    assert capsys.readouterr().out.startswith("hidden[0, 0] = ")


def test_trace(model: Path, inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "trace.npz"
    arguments = ["trace", str(model), "--inputs", str(inputs), "--sample", "1", "-o", str(out)]
    assert main(arguments) == 0
    assert "two_layers.tflite under litert-reference: 7 tensors, 2 ops" in capsys.readouterr().out
    assert load_npz(out)["tensor/x"].tolist() == [[4, 5, 6, 7]]
    once = out.read_bytes()
    assert main([*arguments, "--json"]) == 0
    assert [op["name"] for op in json.loads(capsys.readouterr().out)["ops"]] == ["FULLY_CONNECTED"] * 2
    assert out.read_bytes() == once


def test_multipliers(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = {}
    for form in ([], ["--csv"], ["--c-array"], ["--json"]):
        assert main(["inspect", str(model), "--multipliers", "--profile", "tflm", *form]) == 0
        found["".join(form)] = capsys.readouterr().out
    assert "2 multipliers of 2 ops" in found[""]
    assert found["--csv"].count("\n") == 3
    assert "op1_fully_connected_multiplier[1]" in found["--c-array"]
    assert json.loads(found["--json"])["profile"] == "tflm"


@pytest.mark.parametrize(
    "arguments",
    [
        ["explain", "MODEL", "--tensor", "y"],
        ["explain", "MODEL", "--tensor", "y", "--at", "a,b"],
        ["explain", "MODEL", "--tensor", "y", "--at", "0,9"],
        ["explain", "MODEL", "--tensor", "z", "--at", "0,0"],
        ["explain", "MODEL", "--tensor", "y", "--at", "0,0", "--inputs", "INPUTS", "--sample", "3"],
        ["trace", "MODEL"],
        ["trace", "MODEL", "-o", "no/such/folder/t.npz"],
        ["inspect", "MODEL", "--csv"],
        ["inspect", "MODEL", "--multipliers", "--csv", "--json"],
        ["inspect", "MODEL", "--multipliers", "--profile", "abacus"],
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], model: Path, inputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"MODEL": str(model), "INPUTS": str(inputs)}
    assert main([places.get(argument, argument) for argument in arguments]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1

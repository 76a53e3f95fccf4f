"""A profile against what a device wrote down: every tensor in a file, without the device."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import fbs
import quantref as qr
from qmath.types import Array
from quantref.batch import run_samples
from quantref.cli import main
from quantref.npz import save_npz
from tests.quantref.small_models import custom_op, two_layers


@pytest.fixture(scope="module")
def model() -> fbs.Model:
    return two_layers()


@pytest.fixture(scope="module")
def dump(model: fbs.Model) -> dict[str, Array]:
    """Return every tensor of three invocations under the default profile."""
    samples = [[x[None]] for x in np.random.default_rng(4).integers(-128, 128, (3, 4)).astype(np.int8)]
    return run_samples(qr.Interpreter(model), samples, all_tensors=True)


def test_every_tensor_is_compared(model: fbs.Model, dump: dict[str, Array]) -> None:
    result = qr.verify_outputs(model, dump)
    assert result.equal
    assert [op.difference.elements for op in result.ops] == [9, 6]
    assert result.end_to_end.elements == 6


def test_a_difference_does_not_spread(model: fbs.Model, dump: dict[str, Array]) -> None:
    other = dump | {"hidden": dump["hidden"].copy()}
    other["hidden"][1, 2] ^= 64
    result = qr.verify_outputs(model, other)
    assert not result.equal
    assert result.ops[0].difference.mismatches == 1
    assert result.ops[0].difference.first is not None
    assert (result.ops[0].difference.first.sample, result.ops[0].difference.first.index) == (1, (0, 2))
    assert result.end_to_end.mismatches == 0


def test_outputs_alone_run_the_whole_model(model: fbs.Model, dump: dict[str, Array]) -> None:
    result = qr.verify_outputs(model, {"y": dump["y"]}, {"x": dump["x"]})
    assert result.equal
    assert "run together with op 1" in result.ops[0].not_compared


def test_what_does_not_run_is_part_of_the_result() -> None:
    given = {"x": np.zeros((1, 4), np.int8), "y": np.zeros(4, np.int8), "flat": np.zeros(4, np.int8)}
    result = qr.verify_outputs(custom_op(), given)
    assert not result.equal
    assert "Mystery" in result.refusal
    assert result.ops[0].difference.elements == 4


def test_the_verb(model: fbs.Model, dump: dict[str, Array], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fbs.save(model, tmp_path / "m.tflite")
    save_npz(tmp_path / "dump.npz", dump)
    arguments = ["verify", str(tmp_path / "m.tflite"), "--outputs", str(tmp_path / "dump.npz")]
    assert main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["runtime"] == "dump.npz"
    save_npz(tmp_path / "dump.npz", {f"mine__{name}": array for name, array in dump.items()} | {"x": dump["x"]})
    assert main([*arguments, "--column", "mine"]) == 0
    assert main(arguments) == 2
    save_npz(tmp_path / "dump.npz", dump | {"y": dump["y"] ^ 1})
    assert main(arguments) == 1


@pytest.mark.shared
@pytest.mark.parametrize(("stored", "elements"), [("mlperf_kws", 48), ("mlperf_kws__tensors", 72_152)])
def test_stored_outputs_of_tflite_micro(stored: str, elements: int, shared: Path) -> None:
    model = shared / "models" / "mlperf-tiny" / "kws_int8.tflite"
    result = qr.verify_outputs(model, shared / "goldens-models" / f"{stored}.npz", profile="tflm", column="tflm")
    assert result.equal, result.summary()
    assert result.total.elements == elements

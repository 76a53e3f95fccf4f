"""``quantref quantize``: what it writes, prints and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import fbs
from qmath.types import DType
from quantref.cli import main
from quantref.quantizer import quantize
from tests.quantref.quantizer.small_graphs import FloatGraphBuilder, ops, statistics


@pytest.fixture
def model(tmp_path: Path) -> str:
    """A layer, a cosine that has no integer form, and a layer."""
    g = FloatGraphBuilder()
    path = tmp_path / "float.tflite"
    fbs.save(g.finish(g.dense(g.op("COS", [g.dense(g.input(), "first")], "cos"), "second")), path)
    return str(path)


@pytest.fixture
def data(tmp_path: Path) -> str:
    np.savez(tmp_path / "data.npz", x=np.linspace(-1, 1, 20, dtype=np.float32).reshape(5, 1, 4))
    return str(tmp_path / "data.npz")


def test_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["quantize", "--help"]) == 0
    assert "quantref quantize" in capsys.readouterr().out.split("Examples:")[1]


def test_a_model_is_written_and_shown(
    model: str, data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "int8.tflite"
    assert main(["quantize", model, "-o", str(output), "--mode", "int8", "--data", data]) == 0
    shown = capsys.readouterr()
    assert "int8, style quantref: 2 int8, 1 float32" in shown.out
    assert "no runtime has an integer COS" in shown.out
    assert "times smaller than" in shown.out
    assert shown.err == ""
    assert output.read_bytes() == fbs.write(quantize(model, mode="int8", representative_dataset=data))


def test_json(model: str, data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out.tflite"
    assert main(["quantize", model, "-o", str(output), "--mode", "16x8", "--data", data, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["model"], found["output"], found["mode"], found["style"]) == (
        "float.tflite",
        str(output),
        "16x8",
        "quantref",
    )
    assert found["size_after"] == output.stat().st_size
    assert found["counts"] == {"int16": 2, "float32": 1}
    assert [op["reason"] for op in found["ops"]] == ["", "no runtime has an integer COS", ""]


def test_a_dry_run_needs_no_data_and_writes_nothing(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(tmp_path.iterdir())
    assert main(["quantize", model, "--mode", "int8", "--input-type", "int8", "--dry-run", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["output"] is None
    assert [op["form"] for op in found["ops"]] == ["int8", "float32", "int8"]
    assert sorted(tmp_path.iterdir()) == before


def test_statistics_of_shards_are_merged(model: str, tmp_path: Path) -> None:
    values = np.linspace(-1, 1, 20, dtype=np.float32).reshape(5, 1, 4)
    outputs, stats = [tmp_path / name for name in ("whole.tflite", "shards.tflite")], []
    for name, part in (("first", values[:2]), ("second", values[2:]), ("all", values)):
        np.savez(tmp_path / f"{name}.npz", x=part)
        stats.append(str(tmp_path / f"{name}.json"))
        assert main(["calibrate", model, "--data", str(tmp_path / f"{name}.npz"), "-o", stats[-1]]) == 0
    call = ["quantize", model, "--mode", "int8", "-o"]
    assert main([*call, str(outputs[0]), "--stats", stats[2]]) == 0
    assert main([*call, str(outputs[1]), "--stats", stats[0], "--stats", stats[1]]) == 0
    assert outputs[0].read_bytes() == outputs[1].read_bytes()


def test_statistics_of_a_file_and_a_recipe(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    known = statistics(fbs.read(model))
    known.save(tmp_path / "s.json")
    (tmp_path / "r.toml").write_text('[[rule]]\ntensor = "second"\nmode = "float32"\n', encoding="utf-8")
    output = tmp_path / "o.tflite"
    call = ["quantize", model, "-o", str(output), "--mode", "int8", "--stats", str(tmp_path / "s.json")]
    assert main([*call, "--recipe", str(tmp_path / "r.toml")]) == 0
    assert "the recipe keeps it float" in capsys.readouterr().out
    assert ops(fbs.read(output)) == ["QUANTIZE", "FULLY_CONNECTED", "DEQUANTIZE", "COS", "FULLY_CONNECTED"]


@pytest.mark.shared
@pytest.mark.parametrize(
    ("style", "name"), [("tflite", "convnet.calibrated.tflite"), ("aeq", "convnet.aeq_static_wi8_ai8.calibration.json")]
)
def test_statistics_of_other_tools(style: str, name: str, shared: Path, tmp_path: Path) -> None:
    folder, output = shared / "converter", tmp_path / "o.tflite"
    call = ["quantize", str(folder / "convnet.float32.tflite"), "-o", str(output), "--mode", "int8", "--style", style]
    assert main([*call, "--stats", str(folder / name)]) == 0
    types = {tensor.dtype for tensor in fbs.read(output).subgraphs[0].tensors}
    assert DType.INT8 in types


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--mode", "int8"], "expected statistics or a representative dataset, found neither"),
        (["--mode", "int7"], "int7"),
        (["--mode", "int8", "--data", "DATA", "--no-fallback"], "op 1 (COS) giving 'cos': no runtime has an integer"),
        (["--mode", "int8", "--stats", "DATA"], "expected JSON"),
        (["--mode", "weight-only", "--style", "tflite"], "style tflite has no mode weight-only"),
    ],
)
def test_refusals_are_one_line_and_leave_no_file(
    arguments: list[str], message: str, model: str, data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "o.tflite"
    arguments = [data if argument == "DATA" else argument for argument in arguments]
    assert main(["quantize", model, "-o", str(output), *arguments]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert message in shown.err
    assert shown.err.count("\n") == 1
    assert not output.exists()


def test_something_to_write_to_is_needed(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["quantize", model, "--mode", "dynamic"]) == 2
    assert "expected -o OUTPUT, or --dry-run" in capsys.readouterr().err

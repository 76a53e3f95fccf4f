"""How a delegate divides a graph: what it takes, in how many pieces, and that LiteRT divides it likewise."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import fbs
import quantref
from kernels.profiles import XNNPACK
from qmath.errors import InputError, ModelError
from qmath.types import DType
from quantref.cli import main
from quantref.names import tensor_keys
from quantref.partition import Partition, partition, pieces_of
from quantref.runtimes import litert_installed
from tests.quantref.small_models import float_layer, two_layers


def layered(*ops: str) -> fbs.Model:
    """Build int8 ops of one input and one output, one after the other."""
    builder = fbs.Builder()
    current = builder.input("x", DType.INT8, (1, 4, 4, 2), scale=1 / 256, zero_point=-128)
    for number, name in enumerate(ops):
        output = builder.tensor(f"t{number}", DType.INT8, (1, 4, 4, 2), scale=1 / 256, zero_point=-128)
        options = {"beta": 1.0} if name == "SOFTMAX" else {}
        builder.op(name, [current], [output], version=2, **options)
        current = output
    return builder.finish([current])


def test_pieces_follow_one_another() -> None:
    result = partition(layered("LOGISTIC", "LOGISTIC", "SOFTMAX", "LOGISTIC"), "xnnpack")
    assert [op.piece for op in result.ops] == [0, 0, 1, 2]
    assert [piece.taken for piece in result.pieces] == [True, False, True]
    assert [op.runs_under for op in result.ops] == ["xnnpack", "xnnpack", "litert-optimized", "xnnpack"]
    assert result.ops[2].reason == "XNNPACK does not take INT8 as 't1'"
    assert (result.taken, result.partitions) == (3, 2)
    assert result.pieces[1].inputs == ("t1",)
    assert result.pieces[1].outputs == ("t2",)
    assert "3 of 4 ops in 2 partitions; 1 run under litert-optimized" in result.summary()


def test_a_reshape_without_any_shape_is_refused_as_that() -> None:
    with pytest.raises(ModelError, match=r"expected a shape of as many elements as \(1, 4, 4, 2\)"):
        quantref.run(layered("RESHAPE"), {"x": np.zeros((1, 4, 4, 2), np.int8)}, profile="xnnpack")


def test_ops_side_by_side_join_one_piece() -> None:
    """Two branches, each with an op that is left: both heads run first, then both that are left, then the join."""
    builder = fbs.Builder()
    x = builder.input("x", DType.INT8, (1, 2, 2, 2), scale=1 / 256, zero_point=-128)
    ends = []
    for side in "ab":
        head, tail = (
            builder.tensor(f"{side}{n}", DType.INT8, (1, 2, 2, 2), scale=1 / 256, zero_point=-128) for n in range(2)
        )
        builder.op("LOGISTIC", [x], [head], version=2)
        builder.op("SOFTMAX", [head], [tail], version=2, beta=1.0)
        ends.append(tail)
    y = builder.tensor("y", DType.INT8, (1, 2, 2, 2), scale=1 / 128, zero_point=-128)
    builder.op("ADD", ends, [y], version=2, fused_activation_function=0)
    result = partition(builder.finish([y]), XNNPACK)
    assert [op.piece for op in result.ops] == [0, 1, 0, 1, 2]


def test_unpacked_constants_go_with_the_ops_that_read_them() -> None:
    builder = fbs.Builder()
    x = builder.input("x", DType.FLOAT32, (1, 4))
    half = builder.constant("half", np.ones((2, 4), np.float16))
    weights = builder.tensor("weights", DType.FLOAT32, (2, 4))
    builder.op("DEQUANTIZE", [half], [weights])
    y = builder.tensor("y", DType.FLOAT32, (1, 2))
    builder.op("FULLY_CONNECTED", [x, weights, builder.constant("b", np.zeros(2, np.float32))], [y])
    result = partition(builder.finish([y]), "xnnpack")
    assert [op.reason for op in result.ops] == ["", ""]


def test_an_empty_graph_has_no_pieces() -> None:
    builder = fbs.Builder()
    x = builder.input("x", DType.INT8, (1,))
    model = builder.finish([x])
    assert pieces_of(model.subgraphs[0], []) == []
    assert partition(model, "xnnpack").partitions == 0


def test_results_are_plain_data() -> None:
    result = partition(two_layers(), "xnnpack-arm64")
    assert json.loads(json.dumps(result.to_json()))["fallback"] == "litert-optimized-arm64"
    assert "<table>" in result._repr_html_()


def test_profiles_without_a_fallback_divide_nothing() -> None:
    with pytest.raises(InputError, match="expected the profile of a delegate, such as xnnpack, found tflm"):
        partition(two_layers(), "tflm")


def test_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tmp_path / "m.tflite")
    fbs.save(layered("LOGISTIC", "SOFTMAX"), path)
    assert main(["inspect", path, "--profile", "xnnpack"]) == 0
    assert "XNNPACK does not take INT8 as 't0'" in capsys.readouterr().out
    assert main(["inspect", path, "--profile", "xnnpack", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["taken"] == 1
    assert main(["inspect", path, "--profile", "tflm"]) == 2


# --- LiteRT's own division ---------------------------------------------------------------------------------------

PROBE = """
    import json, sys
    from ai_edge_litert.interpreter import Interpreter
    interpreter = Interpreter(model_path=sys.argv[1])
    interpreter.allocate_tensors()
    pieces = [op for op in interpreter._get_ops_details() if op["op_name"] == "DELEGATE"]
    print(json.dumps([[int(number) for number in piece["outputs"]] for piece in pieces]))
"""


def pieces_of_litert(path: Path) -> list[set[int]]:
    """Return the tensors that each piece gives which LiteRT hands to XNNPACK."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROBE), str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return [set(piece) for piece in json.loads(done.stdout.splitlines()[-1])]


def as_names(model: fbs.Model, pieces: list[set[int]]) -> list[list[str]]:
    keys = tensor_keys(model.subgraphs[0])
    return sorted(sorted(keys[number] for number in piece) for piece in pieces)


def taken(result: Partition) -> list[list[str]]:
    return sorted(sorted(piece.outputs) for piece in result.pieces if piece.taken)


@pytest.mark.litert
@pytest.mark.skipif(not litert_installed(), reason="ai-edge-litert is not installed")
@pytest.mark.parametrize("name", ["digits", "layers", "float", "alternating"])
def test_litert_divides_it_likewise(name: str, data: Path, tmp_path: Path) -> None:
    path = data / "digits_int8.tflite" if name == "digits" else tmp_path / "m.tflite"
    if name != "digits":
        made = {"layers": two_layers, "float": float_layer, "alternating": lambda: layered("LOGISTIC", "SOFTMAX")}
        fbs.save(made[name](), path)
    model = fbs.read(path)
    assert taken(partition(model, "xnnpack")) == as_names(model, pieces_of_litert(path))

"""The interpreter in the place of ``tf.lite.Interpreter``: the same calls give the same answers."""

from __future__ import annotations

import copy
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fbs
import quantref
from qmath.errors import InputError, ModelError, UnsupportedError
from qmath.types import DType
from quantref.batch import run_samples
from quantref.runtimes import litert_installed
from quantref.samples import random_samples
from tests.fbs.models import sparse
from tests.quantref import interpreter_calls
from tests.quantref.small_models import two_layers, with_state
from tests.quantref.test_control_flow import choosing, looping, remembering

ROOT = Path(__file__).resolve().parents[2]


def open_shape() -> fbs.Model:
    """Build an op whose output has no shape in the file."""
    b = fbs.Builder()
    x, y = b.input("x", DType.INT8, (1, 4), scale=0.5), b.tensor("y", DType.INT8, (), scale=0.5)
    b.op("CONCATENATION", [x, x], [y], axis=1)
    return b.finish([y])


def given_away() -> fbs.Model:
    """Build a model that gives away its input, a constant, and one output twice."""
    b = fbs.Builder()
    x, y = b.input("x", DType.INT8, (1, 4), scale=0.5), b.tensor("é出力", DType.INT8, (1, 4), scale=0.5)
    c = b.constant("c", np.array([[1, 2, 3, 4]], np.int8), scale=0.5)
    b.op("ADD", [x, c], [y], pot_scale_int16=False)
    return b.finish([y, x, c, y])


MODELS = {
    "two layers": two_layers,
    "state": with_state,
    "IF": choosing,
    "WHILE": looping,
    "CALL_ONCE": remembering,
    "open shape": open_shape,
    "given away": given_away,
    "sparse": sparse,
}


@pytest.mark.litert
@pytest.mark.skipif(not litert_installed(), reason="ai-edge-litert is not installed")
@pytest.mark.parametrize("name", MODELS)
def test_calls_give_what_litert_gives(name, tmp_path):
    model = MODELS[name]()
    path = tmp_path / "model.tflite"
    quantref.save(model, path)
    samples = store(random_samples(model, 3), tmp_path / "samples.npz")
    theirs, ours = (answers(side, path, samples) for side in ("litert", "quantref"))
    # LiteRT adds scratch tensors to a graph, and renames the output of a DENSIFY: these have no counterpart.
    both = {call for call, _ in theirs} & {call for call, _ in ours}
    alone = {call for call, _ in theirs + ours} - both
    assert len(both) > 60
    assert all(call.startswith("tensor") for call in alone)
    pairs = zip((a for a in ours if a[0] in both), (a for a in theirs if a[0] in both), strict=True)
    differing = [(mine, other) for mine, other in pairs if not same(mine, other)]
    assert not differing, differing[:3]


def answers(side: str, path: Path, samples: Path) -> list[list[Any]]:
    done = subprocess.run(
        [sys.executable, interpreter_calls.__file__, side, str(path), str(samples)],
        capture_output=True,
        check=False,
        timeout=120,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return list(json.loads(done.stdout))


def store(samples: list[list[Any]], path: Path) -> Path:
    arrays = {f"{row}_{column}": a for row, sample in enumerate(samples) for column, a in enumerate(sample)}
    np.savez(path, rows=len(samples), columns=len(samples[0]), **arrays)
    return path


def same(ours: list[Any], theirs: list[Any]) -> bool:
    """Whether two calls and answers are the same; floats of tensors within 1e-5."""
    (call, mine), (other_call, other) = ours, theirs
    if isinstance(mine, list) and mine[:1] == ["float32"] and other != "refused":
        return call == other_call and mine[:2] == other[:2] and np.allclose(mine[2], other[2], rtol=1e-5)
    return ours == theirs


def ready(model: fbs.Model, **named: Any) -> quantref.Interpreter:
    interpreter = quantref.Interpreter(model, **named)
    interpreter.allocate_tensors()
    return interpreter


@pytest.mark.parametrize(
    ("named", "profile"),
    [
        ({}, "litert-reference"),
        ({"experimental_op_resolver_type": None}, "litert-reference"),
        ({"experimental_op_resolver_type": "BUILTIN_REF"}, "litert-reference"),
        ({"experimental_op_resolver_type": "AUTO"}, "xnnpack"),
        ({"experimental_op_resolver_type": "AUTO", "profile": "xnnpack"}, "xnnpack"),
        ({"experimental_op_resolver_type": "BUILTIN_WITHOUT_DEFAULT_DELEGATES"}, "litert-optimized"),
        ({"experimental_preserve_all_tensors": True, "experimental_delegates": None}, "litert-reference"),
        ({"experimental_disable_delegate_clustering": True}, "litert-reference"),
    ],
)
def test_experimental_arguments_pick_the_profile(named, profile):
    assert ready(two_layers(), **named).profile.name == profile


@pytest.mark.parametrize(
    ("named", "error", "message"),
    [
        ({"experimental_delegates": [object()]}, UnsupportedError, "expected none, since quantref runs no delegate"),
        ({"experimental_op_resolver_type": 7}, InputError, "expected an op resolver among AUTO, .*, found 7"),
        ({"experimental_op_resolver_type": "AUTO", "profile": "tflm"}, InputError, "the profile xnnpack .* found tflm"),
        ({"experimental_wishes": True}, InputError, "found 'experimental_wishes'"),
        ({"num_threads": "2"}, InputError, "expected a whole number, found '2'"),
        ({"num_threads": 0}, InputError, "expected num_threads from 1 to 256"),
    ],
)
def test_arguments_that_mean_nothing_are_refused(named, error, message):
    with pytest.raises(error, match=message):
        quantref.Interpreter(two_layers(), **named)


@pytest.mark.parametrize("source", [5, 1.5, ["a"]])
def test_what_is_no_model_is_refused(source):
    with pytest.raises(InputError, match="expected a path, the bytes of a file or a model, found"):
        quantref.load(source)


def test_a_path_may_be_bytes(tmp_path):
    path = tmp_path / "m.tflite"
    quantref.save(two_layers(), path)
    assert quantref.Interpreter(model_path=os.fsencode(path)).num_subgraphs() == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda i: i.set_tensor(1, np.zeros((3, 4), np.int8)), "expected a tensor that is no constant, found 'w0'"),
        (lambda i: i.get_tensor("0"), "expected a whole number, found '0'"),
        (lambda i: i.get_tensor(99), "expected a tensor index below"),
        (lambda i: i.get_tensor(0, 1), "expected a subgraph index below 1, found 1"),
        (lambda i: i.get_tensor_details(-1), "expected a subgraph index below 1, found -1"),
        (lambda i: i.tensor(99), "expected a tensor index below"),
        (lambda i: i.tensor(6)(), "has no value yet"),
        (lambda i: i.resize_tensor_input(0, 4), "expected a list of dimensions, found 4"),
        (lambda i: i.resize_tensor_input(0, [1, -4]), "dimensions of 31 bits that are not negative"),
        (lambda i: i.resize_tensor_input(0, [1, 1 << 31]), "dimensions of 31 bits that are not negative"),
        (lambda i: i.resize_tensor_input(6, [1, 2]), "expected the index of an input"),
    ],
)
def test_calls_that_do_not_fit_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call(ready(two_layers()))


def test_constants_can_be_read_at_once():
    interpreter = quantref.Interpreter(two_layers())
    assert interpreter.get_tensor(1).shape == (3, 4)
    with pytest.raises(InputError, match="expected allocate_tensors to be called first"):
        interpreter.get_tensor(0)


def test_values_of_another_size_are_gone_after_a_resize():
    interpreter = ready(two_layers())
    interpreter.invoke()
    interpreter.resize_tensor_input(0, (2, 4))
    interpreter.allocate_tensors()
    assert interpreter.get_output_details()[0]["shape"].tolist() == [2, 2]
    with pytest.raises(InputError, match="has no value yet"):
        interpreter.get_tensor(6)


def test_shapes_that_cannot_be_told_are_the_files():
    """Five elements and four cannot be added: nobody knows a shape of the sum, so it has that of the file."""
    interpreter = ready(given_away())
    interpreter.resize_tensor_input(0, (1, 5))
    interpreter.allocate_tensors()
    assert interpreter.get_output_details()[0]["shape"].tolist() == [1, 4]
    with pytest.raises(ModelError, match="op 0"):
        interpreter.invoke()


def test_an_interpreter_goes_on_after_an_error():
    interpreter = ready(given_away())
    for size in (4, 5, 4, 1):
        interpreter.resize_tensor_input(0, (1, size))
        interpreter.allocate_tensors()
        interpreter.set_tensor(0, np.full((1, size), 10, np.int8))
        if size == 5:
            with pytest.raises(ModelError):
                interpreter.invoke()
        else:
            interpreter.invoke()
            assert interpreter.get_tensor(1).tolist() == [[11, 12, 13, 14]]


@pytest.mark.parametrize("dtype", [DType.STRING, DType.RESOURCE, DType.VARIANT])
def test_types_without_a_numpy_form_are_described_but_are_no_inputs(dtype):
    b = fbs.Builder()
    x, y = b.input("x", dtype, (1,)), b.tensor("y", dtype, (1,))
    b.op("RESHAPE", [x], [y], new_shape=[1])
    interpreter = quantref.Interpreter(b.finish([y]))
    assert interpreter.get_input_details()[0]["dtype"] in {np.bytes_, np.object_}
    with pytest.raises(UnsupportedError, match=rf"input 0 \('x'\): inputs of type {dtype.name} are not covered"):
        interpreter.allocate_tensors()


def test_a_signature_that_leaves_out_an_input_uses_what_was_set():
    b = fbs.Builder()
    x, z = (b.input(name, DType.INT8, (2,), scale=0.5) for name in "xz")
    y = b.tensor("y", DType.INT8, (2,), scale=0.5)
    b.op("ADD", [x, z], [y], pot_scale_int16=False)
    b.signature("half", {"x": x}, {"sum": y})
    interpreter = ready(b.finish([y]))
    interpreter.set_tensor(z, np.array([10, 20], np.int8))
    runner = interpreter.get_signature_runner()
    assert runner(x=np.array([1, 2], np.int8))["sum"].tolist() == [11, 22]


def test_an_interpreter_cannot_be_copied():
    for act in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="make another one of its model"):
            act(ready(two_layers()))


CODES = np.array([[1, 2, 3, 4]], np.int8)


@pytest.mark.parametrize("key", ["x", "0:x", "features"])
def test_inputs_are_named_as_files_of_arrays_name_them(key):
    assert quantref.run(two_layers(), {key: CODES})["y"].shape == (1, 2)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([CODES], r"expected a dict of arrays by name \(\['x'\]\), found a list"),
        (None, "expected a dict of arrays by name .* found a NoneType"),
        ({"x": [[1], [2, 3]]}, "'x': expected an array, found something else"),
        ({"x": CODES, "0:x": CODES}, r"expected inputs named \['x'\], found \['0:x', 'x'\]"),
        ({0: CODES, "q": CODES}, r"expected inputs named \['x'\], found \['0', 'q'\]"),
    ],
)
def test_what_is_no_inputs_is_refused(inputs, message):
    with pytest.raises(InputError, match=message):
        quantref.run(two_layers(), inputs)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda i: i.set_tensor(0, [[1], [2, 3]]), "'x': expected an array"),
        (lambda i: i.run_op("0", [CODES]), "expected a whole number, found '0'"),
        (lambda i: i.run_op(0, [CODES]), "expected 3 inputs of op 0, found 1"),
        (lambda i: i.get_signature_runner(["features"]), "expected a signature among"),
        (lambda i: quantref.Interpreter(i.model, ["xnnpack"]), "expected a profile among"),
    ],
)
def test_wrong_types_are_input_errors(call, message):
    with pytest.raises(InputError, match=message):
        call(ready(two_layers()))


def test_all_tensors_of_several_samples_are_those_with_elements():
    samples = [[np.array(pair, np.float32)] for pair in ((1, 2), (0, 1))]
    found = run_samples(ready(remembering()), samples, all_tensors=True)
    assert {name: array.tolist() for name, array in found.items()} == {
        "x": [[1, 2], [0, 1]],
        "before": [[100, -1], [101, 1]],
        "after": [[101, 1], [101, 2]],
    }

"""Inferring a profile: from every tensor or outputs alone, with one op of another runtime, with a regime of none."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fbs
import quantref as qr
from kernels.engine import registry
from kernels.engine.types import OpView, Prepared
from kernels.profiles import LITERT_OPTIMIZED, LITERT_REFERENCE, PROFILES, TFLM, XNNPACK
from qmath.errors import InputError
from qmath.types import Array, DType
from quantref.cli import main
from quantref.execution import Session
from quantref.inference import InferResult, Verdict
from quantref.inference.regimes import SingleRoundingFloor, SingleRoundingHalfEven, with_regime
from quantref.inference.sharing import alike
from quantref.inference.telling import smallest
from quantref.inference.ties import aim
from quantref.npz import save_npz
from quantref.runtimes import RUNTIMES, litert_installed
from tests import infer_models
from tests.quantref.small_models import with_state

SAMPLES = 4
Arrays = dict[str, Array]


@pytest.fixture(scope="module")
def model() -> fbs.Model:
    """Return three int8 FULLY_CONNECTED ops whose scales are powers of two, for the ties, and a RESHAPE."""
    rng = np.random.default_rng(1)
    builder = fbs.Builder()
    current = builder.input("x", DType.INT8, (16, 8), scale=0.5, zero_point=3)
    for layer, name in enumerate(("first", "hidden", "logits")):
        weights = builder.constant(f"w{layer}", rng.integers(-7, 8, (8, 8)).astype(np.int8), scale=0.25)
        bias = builder.constant(f"b{layer}", rng.integers(-40, 40, 8).astype(np.int32), scale=0.25 if layer else 0.125)
        output = builder.tensor(name, DType.INT8, (16, 8), scale=1.0, zero_point=-1)
        builder.op("FULLY_CONNECTED", [current, weights, bias], [output], version=4)
        current = output
    y = builder.tensor("y", DType.INT8, (128,), scale=1.0, zero_point=-1)
    builder.op("RESHAPE", [current, builder.constant("shape", np.array([128], np.int32))], [y], new_shape=[128])
    return builder.finish([y])


@pytest.fixture(scope="module")
def inputs() -> Arrays:
    return {"x": np.random.default_rng(2).integers(-128, 128, (SAMPLES, 16, 8)).astype(np.int8)}


def device(model: fbs.Model, inputs: Arrays, prepare: Callable[[int, int, OpView], Prepared]) -> Arrays:
    """Return every tensor that a device gives whose ops are prepared in some way."""
    graph = Session(model, LITERT_REFERENCE, prepare=prepare).graph(0)
    runs = []
    for sample in inputs["x"]:
        graph.run([sample])
        runs.append([graph.value(number) for number in range(len(graph.subgraph.tensors))])
    names = [tensor.name for tensor in graph.subgraph.tensors]
    made = {"first", "hidden", "logits", "y"}
    return {name: np.stack([run[n] for run in runs]) for n, name in enumerate(names) if name in made}


def under(*profiles: str) -> Callable[[int, int, OpView], Prepared]:
    """Return a device that runs op after op under each of some profiles."""
    return lambda _, op, view: registry.prepare(view, PROFILES[profiles[min(op, len(profiles) - 1)]])


def outputs_of(dump: Arrays) -> Arrays:
    return {"y": dump["y"]}


@pytest.mark.parametrize("known", [lambda dump: dump, outputs_of], ids=["every tensor", "outputs alone"])
@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_is_recognized(
    profile: str, known: Callable[[Arrays], Arrays], model: fbs.Model, inputs: Arrays
) -> None:
    dump = known(device(model, inputs, under(profile)))
    result = qr.infer_profile(model, inputs, dump)
    agreeing = {name for name in PROFILES if same(known(device(model, inputs, under(name))), dump)}
    assert profile in result.explained_by
    assert set(result.explained_by) == agreeing
    assert result.verdict is (Verdict.FOLLOWS if len(agreeing) == 1 else Verdict.CANNOT_TELL)
    assert {name for element in result.telling for name in element.rules_out} == set(PROFILES) - agreeing


def same(first: Arrays, second: Arrays) -> bool:
    return all(np.array_equal(first[name], second[name]) for name in first)


def test_what_tells_profiles_apart_is_there_to_be_looked_up(model: fbs.Model, inputs: Arrays) -> None:
    dump = device(model, inputs, under("xnnpack"))
    result = qr.infer_profile(model, inputs, dump)
    assert result.telling
    for element in result.telling:
        assert dump[element.tensor][element.sample][element.index] == element.observed
        assert element.predicted["xnnpack"] == element.observed
        assert str(element.observed) in str(element)


def test_profiles_that_agree_cannot_be_told_apart(model: fbs.Model) -> None:
    inputs = {"x": np.full((1, 16, 8), 3, np.int8)}
    dump = device(model, inputs, under("tflm"))
    result = qr.infer_profile(model, inputs, {"hidden": dump["hidden"]}, profiles=["tflm", "cmsis-nn"])
    assert result.verdict is Verdict.CANNOT_TELL
    assert "cannot tell, these agree here: tflm, cmsis-nn" in result.summary()
    assert result.telling == ()


@pytest.mark.parametrize("known", [lambda dump: dump, outputs_of], ids=["every tensor", "outputs alone"])
def test_one_op_of_another_runtime_is_pointed_at(
    known: Callable[[Arrays], Arrays], model: fbs.Model, inputs: Arrays
) -> None:
    dump = known(device(model, inputs, under("litert-optimized", "xnnpack", "litert-optimized")))
    result = qr.infer_profile(model, inputs, dump, budget=20)
    assert result.verdict is Verdict.MIXED
    assert result.explained_by == ()
    if len(dump) > 1:
        assert "litert-optimized" in result.nearest
        assert [op.index for op in result.foreign] == [1]
        assert "xnnpack" in result.foreign[0].explained_by
        assert "op 1 FULLY_CONNECTED: xnnpack" in result.summary()
    else:
        exact = [mixture for mixture in result.mixtures if mixture.mismatches == 0]
        assert any(m.profile == "litert-optimized" and m.op_index == 1 and "xnnpack" in m.exception for m in exact)


def test_two_readings_of_one_dump(model: fbs.Model, inputs: Arrays) -> None:
    """Two ops, one of either runtime: each profile needs one op of the other."""
    dump = device(model, inputs, under("litert-optimized", "xnnpack", "xnnpack"))
    known = {"first": dump["first"], "hidden": dump["hidden"]}
    result = qr.infer_profile(model, inputs, known, profiles=["litert-optimized", "xnnpack"])
    foreign = {reading.profiles: [op.index for op in reading.foreign] for reading in result.readings}
    assert foreign == {("litert-optimized",): [1], ("xnnpack",): [0]}
    assert [op.index for op in result.foreign] == [0, 1]
    assert "litert-optimized but for op 1 FULLY_CONNECTED" in result.summary()
    assert "xnnpack but for op 0 FULLY_CONNECTED" in result.summary()


def test_spread_constants_are_not_compared() -> None:
    """A delegate does not write what DEQUANTIZE would make of a constant."""
    builder = fbs.Builder()
    x = builder.input("x", DType.FLOAT32, (1, 4))
    half = builder.constant("half", np.arange(8, dtype=np.float16).reshape(2, 4))
    weights = builder.tensor("weights", DType.FLOAT32, (2, 4))
    builder.op("DEQUANTIZE", [half], [weights], version=3)
    y = builder.tensor("y", DType.FLOAT32, (1, 2))
    builder.op("FULLY_CONNECTED", [x, weights, None], [y])
    model, ones = builder.finish([y]), {"x": np.ones((1, 4), np.float32)}
    dump = {"weights": np.full((2, 4), np.nan, np.float32), "y": np.array([[6.0, 22.0]], np.float32)}
    result = qr.infer_profile(model, ones, dump)
    assert "xnnpack" in result.explained_by
    assert "1 tensors that are constants, spread out, were not compared" in result.summary()


def test_outputs_of_floats_that_drift_are_not_named() -> None:
    """A dynamic-range chain known by its outputs alone: a small difference is not explained, but not foreign either."""
    rng = np.random.default_rng(0)
    builder = fbs.Builder()
    current = builder.input("x", DType.FLOAT32, (1, 16))
    for layer in range(2):
        codes = rng.integers(-127, 128, (16, 16)).astype(np.int8)
        output = builder.tensor(f"y{layer}", DType.FLOAT32, (1, 16))
        builder.op("FULLY_CONNECTED", [current, builder.constant(f"w{layer}", codes, scale=0.01), None], [output])
        current = output
    model, x = builder.finish([current]), {"x": rng.standard_normal((1, 16)).astype(np.float32)}
    (y,) = qr.run(model, x).values()
    result = qr.infer_profile(model, x, {"y1": y * np.float32(1.001)}, budget=1)
    assert result.verdict is Verdict.DRIFT
    assert result.explained_by == ()
    assert "cannot tell: 2 ops give floats" in result.summary()


@pytest.mark.parametrize(
    ("regime", "name"),
    [(SingleRoundingFloor(), "single rounding floor"), (SingleRoundingHalfEven(), "single rounding half even")],
)
def test_a_regime_of_no_profile_is_named(
    regime: SingleRoundingFloor | SingleRoundingHalfEven, name: str, model: fbs.Model, inputs: Arrays
) -> None:
    def prepare(_: int, __: int, view: OpView) -> Prepared:
        prepared = registry.prepare(view, TFLM)
        return with_regime(prepared, regime) or prepared

    dump = device(model, inputs, prepare)
    by_op = qr.infer_profile(model, inputs, dump, profiles=["litert-reference", "litert-optimized", "tflm", "cmsis-nn"])
    assert by_op.verdict is Verdict.MIXED
    assert [op.index for op in by_op.foreign] == [0, 1, 2]
    assert all(name in {regime.name for regime in op.regimes if regime.explains} for op in by_op.foreign)
    assert name in by_op.regimes
    assert "every op that no profile explains (3) follows the regime" in by_op.summary()
    assert f"regime {name}" in by_op.summary() or f"or {name}" in by_op.summary()
    whole = qr.infer_profile(model, inputs, outputs_of(dump), profiles=["litert-optimized", "tflm"], budget=20)
    assert any(name in mixture.exception and mixture.mismatches == 0 for mixture in whole.mixtures)


def test_noise_is_not_explained(model: fbs.Model, inputs: Arrays) -> None:
    dump = device(model, inputs, under("tflm"))
    dump["logits"] = (dump["logits"] ^ 1).astype(np.int8)
    result = qr.infer_profile(model, inputs, {"hidden": dump["hidden"], "logits": dump["logits"]})
    assert result.verdict is Verdict.UNEXPLAINED
    assert [op.index for op in result.foreign] == [2]
    assert "the nearest is" in result.summary()


def test_results_are_plain_data(model: fbs.Model, inputs: Arrays) -> None:
    result = qr.infer_profile(model, inputs, device(model, inputs, under("xnnpack")))
    assert json.loads(json.dumps(result.to_json()))["explained_by"] == list(result.explained_by)
    assert "<table>" in result._repr_html_()


# --- what a dump may look like ---------------------------------------------------------------------------------------


def names_of(result: InferResult) -> tuple[str, ...]:
    return tuple(name for op in result.compared for name in op.outputs)


def test_keys_by_position_and_in_columns(model: fbs.Model, inputs: Arrays) -> None:
    dump = device(model, inputs, under("tflm"))
    index = [tensor.name for tensor in model.subgraphs[0].tensors].index("hidden")
    stored = {"input_0": inputs["x"], "mine__output_0": dump["y"], f"mine__tensor_{index}": dump["hidden"]}
    found = qr.infer_profile(model, outputs=stored, column="mine")
    assert set(names_of(found)) == {"hidden", "y"}
    assert "tflm" in found.explained_by
    with pytest.raises(InputError, match="found columns mine"):
        qr.infer_profile(model, outputs=stored, column="yours")


def test_flat_arrays_and_wider_integers_are_understood(model: fbs.Model, inputs: Arrays) -> None:
    dump = device(model, inputs, under("tflm"))
    flat = {"hidden": dump["hidden"].reshape(-1).astype(np.int32)}
    assert "tflm" in qr.infer_profile(model, inputs, flat).explained_by


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({"nothing": np.zeros(3)}, "expected keys that are names of tensors"),
        ({"w0": np.zeros((8, 8), np.int8)}, "expected tensors that the model computes"),
        ({"y": np.zeros((SAMPLES, 127), np.int8)}, r"expected shape \[4, 128\]"),
        ({"y": np.full((SAMPLES, 128), 300)}, "expected int8, found int64"),
    ],
)
def test_dumps_that_do_not_fit(outputs: Arrays, message: str, model: fbs.Model, inputs: Arrays) -> None:
    with pytest.raises(InputError, match=message):
        qr.infer_profile(model, inputs, outputs)


def test_inputs_must_come_from_somewhere(model: fbs.Model) -> None:
    with pytest.raises(InputError, match="expected inputs beside the outputs, found no 'x'"):
        qr.infer_profile(model, outputs={"y": np.zeros(128, np.int8)})
    with pytest.raises(InputError, match="expected outputs or a runtime, found neither"):
        qr.infer_profile(model)


def test_state_lives_on_from_one_invocation_to_the_next() -> None:
    model = with_state()
    samples = np.random.default_rng(3).integers(-128, 128, (5, 4)).astype(np.int8)
    interpreter = qr.Interpreter(model, TFLM)
    interpreter.allocate_tensors()
    outputs = []
    for sample in samples:
        interpreter.set_tensor(0, sample[None])
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(model.subgraphs[0].outputs[0]))
    assert "tflm" in qr.infer_profile(model, {"x": samples}, {"y": np.concatenate(outputs)}).explained_by


# --- the fewest elements ---------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 63), max_size=7), st.integers(0, 63))
def test_no_smaller_set_rules_out_as_much(masks: list[int], rivals: int) -> None:
    chosen = smallest(masks, rivals)
    goal = ruled_out(masks, rivals)
    assert ruled_out([masks[place] for place in chosen], rivals) == goal
    for count in range(len(chosen)):
        for fewer in itertools.combinations(masks, count):
            assert ruled_out(list(fewer), rivals) != goal


def ruled_out(masks: list[int], rivals: int) -> int:
    found = 0
    for mask in masks:
        found |= mask & rivals
    return found


def test_many_rivals_are_ruled_out_greedily() -> None:
    masks = [1 << number for number in range(20)] + [(1 << 20) - 1]
    assert smallest(masks, (1 << 20) - 1) == [20]


# --- an input that separates -----------------------------------------------------------------------------------------


def test_an_input_that_separates(model: fbs.Model) -> None:
    found = qr.separate_profiles(model, LITERT_OPTIMIZED, XNNPACK)
    again = qr.separate_profiles(model, "litert-optimized", "xnnpack")
    assert found.inputs is not None
    assert again.inputs is not None
    assert np.array_equal(found.inputs["x"], again.inputs["x"])
    outputs = [qr.run(model, found.inputs, name)["y"] for name in ("litert-optimized", "xnnpack")]
    assert int(np.count_nonzero(outputs[0] != outputs[1])) == found.difference.mismatches > 0
    assert "litert-optimized and xnnpack differ in" in found.summary()


def test_an_input_that_separates_is_honestly_not_found(model: fbs.Model) -> None:
    found = qr.separate_profiles(model, "tflm", "cmsis-nn", tries=5)
    assert found.inputs is None
    assert "found no input on which tflm and cmsis-nn differ in 5 tries" in found.summary()
    with pytest.raises(InputError, match="expected two profiles, found tflm twice"):
        qr.separate_profiles(model, "tflm", "tflm")


def test_an_input_is_aimed_at_a_tie() -> None:
    """Two outputs with scales that are no powers of two: random inputs meet a tie once in thousands of tries."""
    rng = np.random.default_rng(0)
    builder = fbs.Builder()
    x = builder.input("x", DType.INT8, (1, 8), scale=0.013, zero_point=3)
    weights = builder.constant("w", rng.integers(-127, 128, (2, 8)).astype(np.int8), scale=0.0171)
    bias = builder.constant("b", rng.integers(-400, 400, 2).astype(np.int32), scale=0.013 * 0.0171)
    y = builder.tensor("y", DType.INT8, (1, 2), scale=0.0371, zero_point=-1)
    builder.op("FULLY_CONNECTED", [x, weights, bias], [y], version=4)
    model = builder.finish([y])
    graphs = [Session(model, profile).graph(0) for profile in (LITERT_REFERENCE, TFLM)]
    hits = 0
    for seed in range(10):
        aimed = aim(graphs, [rng.integers(-128, 128, (1, 8)).astype(np.int8)], np.random.default_rng(seed))
        if aimed is not None:
            outputs = [qr.run(model, {"x": aimed[0]}, profile)["y"] for profile in (LITERT_REFERENCE, TFLM)]
            assert not np.array_equal(*outputs)
            hits += 1
    assert hits > 5


# --- the command line ------------------------------------------------------------------------------------------------


def test_the_verbs(model: fbs.Model, inputs: Arrays, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, dump, given_ = (str(tmp_path / name) for name in ("m.tflite", "dump.npz", "in.npz"))
    fbs.save(model, path)
    save_npz(given_, inputs)
    assert main(["run", path, "--inputs", given_, "-o", dump, "--profile", "xnnpack", "--all-tensors"]) == 0
    capsys.readouterr()
    assert main(["profiles", "infer", path, "--outputs", dump, "--json"]) == 0
    assert "xnnpack" in json.loads(capsys.readouterr().out)["explained_by"]
    assert main(["profiles", "infer", path, "--outputs", dump, "--profile", "tflm"]) == 1
    assert "no single profile" in " ".join(capsys.readouterr().out.split())
    assert main(["profiles", "infer", path]) == 2
    separate = partial(main_of, "profiles", "separate")
    out = tmp_path / "apart.npz"
    assert separate("tflm", "xnnpack", path, "-o", str(out)) == 0
    assert out.is_file()
    assert separate("tflm", "cmsis-nn", path, "-o", str(tmp_path / "none.npz"), "--tries", "3") == 1
    assert not (tmp_path / "none.npz").exists()


def main_of(*arguments: str) -> int:
    return main(list(arguments))


# --- what runs under several profiles share --------------------------------------------------------------------------


def test_only_what_is_the_same_counts_as_alike(model: fbs.Model) -> None:
    view = fbs.view(model.subgraphs[0], 0)
    prepared = {name: registry.prepare(view, profile) for name, profile in PROFILES.items()}
    assert alike(prepared["tflm"], registry.prepare(view, TFLM))
    assert alike(prepared["tflm"], prepared["cmsis-nn"])
    assert not alike(prepared["tflm"], prepared["xnnpack"])
    assert not alike(np.zeros(2, np.int8), np.zeros(2, np.int16))
    assert not alike(lambda: 0, lambda: 0)
    assert not alike({"a": 1}, {"b": 1})


# --- runtimes and whole models ---------------------------------------------------------------------------------------


@pytest.mark.litert
@pytest.mark.skipif(not litert_installed(), reason="ai-edge-litert is not installed")
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_an_installed_runtime_follows_its_profile(runtime: str, data: Path) -> None:
    result = qr.infer_profile(data / "digits_int8.tflite", runtime=runtime, samples=2)
    assert RUNTIMES[runtime].profile in result.explained_by, result.summary()
    assert "aarch64" in result.source or "x86_64" in result.source


@pytest.mark.shared
def test_stored_outputs_of_tflite_micro(shared: Path) -> None:
    assert shared.is_dir()
    rows = list(infer_models.rows_of_goldens("mlperf-tiny/streaming_wakeword_int8"))
    assert len(rows) == 3
    assert all(row.right for row in rows), rows


@pytest.mark.litert
@pytest.mark.shared
@pytest.mark.skipif(not litert_installed(), reason="ai-edge-litert is not installed")
def test_a_real_dump_with_one_op_of_another_runtime(shared: Path) -> None:
    assert shared.is_dir()
    runtime = RUNTIMES["litert-optimized"]
    rows = list(infer_models.rows_of_runtime("mlperf-tiny/streaming_wakeword_int8", runtime, 1, mixed=True))
    assert [row.known for row in rows] == ["every tensor", "outputs", "one op mixed in"]
    assert all(row.right for row in rows), rows

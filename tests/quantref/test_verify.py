"""Comparing a model with a runtime: what is counted, what is found, what is survived."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import json
import os
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fbs
from kernels.engine.types import Inputs, Outputs
from qmath.errors import InputError
from qmath.types import Array, DType
from quantref.difference import Difference
from quantref.interpreter import Interpreter
from quantref.npz import save_npz
from quantref.runtimes import LiteRT, Resolver, Runtime, RuntimeCrashed, litert_installed
from quantref.verification import Death, Ending, VerifyResult
from quantref.verify import verify
from tests.quantref.small_models import custom_op, float_layer, two_layers, with_state
from tests.quantref.test_control_flow import remembering

pytestmark = [
    pytest.mark.litert,
    pytest.mark.skipif(not litert_installed(), reason="ai-edge-litert is not installed"),
]

REAL_MODELS = [
    "mlperf-tiny/ad01_int8",
    "mlperf-tiny/resnet8_int8",
    "mlperf-tiny/kws_int8",
    "mlperf-tiny/streaming_wakeword_int8",
    "mlperf-tiny/toycar_dynamic",
    "mlperf-tiny/toycar_int8_float_io",
    "mlperf-tiny/vww96_int8",
    "mobilenet_v2/mobilenet_v2_224_int8",
    "tflm/hello_world_int8",
    "tflm/micro_speech_int8",
]


def test_every_element_is_compared_and_matches() -> None:
    result = verify(two_layers(), samples=7, seed=3)
    assert result.equal, result.summary()
    assert [op.difference.elements for op in result.ops] == [7 * 3, 7 * 2]
    assert [output.difference.elements for output in result.outputs] == [7 * 2]
    assert result.total == Difference(elements=35)
    assert "35 elements, 0 mismatches" in result.summary()


def test_a_running_runtime_is_used_and_left_running() -> None:
    with LiteRT("litert-optimized") as litert:
        first, second = (verify(two_layers(), litert, samples=2) for _ in range(2))
        assert litert._child is not None
        assert litert._child.served == 2
    assert first.equal
    assert (first, first.runtime, first.profile) == (second, "litert-optimized", "litert-optimized")


def test_floats_report_how_close_they_are() -> None:
    result = verify(float_layer(), samples=5)
    assert result.equal, result.summary()
    assert result.total.relative is not None
    assert result.total.relative < 1e-5
    assert "floats within" in result.summary()


def test_a_difference_in_one_op_does_not_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Interpreter.run_op

    def wrong(self: Interpreter, op_index: int, inputs: Inputs) -> Outputs:
        outputs = right(self, op_index, inputs)
        return tuple(output ^ 1 for output in outputs) if op_index == 0 else outputs

    monkeypatch.setattr(Interpreter, "run_op", wrong)
    result = verify(two_layers(), samples=4)
    first, second = (op.difference for op in result.ops)
    assert not result.equal
    assert (first.mismatches, first.largest) == (12, 1.0)
    assert first.first is not None
    assert (first.first.sample, first.first.index) == (0, (0, 0))
    assert second.mismatches == 0
    assert result.end_to_end.mismatches == 0
    assert "op 0 FULLY_CONNECTED int8: 12 elements, 12 mismatches; largest difference 1" in result.summary()


def test_the_result_is_plain_data() -> None:
    result = verify(two_layers(), samples=2)
    again = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert (again["equal"], again["elements"], again["seed"]) == (True, 10, 0)
    assert again["ops"][1]["outputs"] == ["y"]
    assert "<table>" in result._repr_html_()


def test_an_executor_changes_nothing() -> None:
    alone = verify(fbs.write(two_layers()), samples=20)
    seen = []
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        spread = verify(
            fbs.write(two_layers()), samples=20, executor=pool, progress=lambda done, total: seen.append((done, total))
        )
    assert alone == spread
    assert seen[-1] == (20, 20)
    assert len(seen) > 1


def test_state_lives_on_from_sample_to_sample_and_is_compared() -> None:
    samples = 9
    result = verify(with_state(), samples=samples)
    assert result.equal, result.summary()
    assert result.total.elements == samples * (2 + 6)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        assert verify(with_state(), samples=samples, executor=pool) == result


def test_a_wrong_state_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Interpreter.run_op

    def wrong(self: Interpreter, op_index: int, inputs: Inputs) -> Outputs:
        output, state = right(self, op_index, inputs)
        return output, state + 1

    monkeypatch.setattr(Interpreter, "run_op", wrong)
    result = verify(with_state(), samples=3)
    assert result.total.mismatches == 3 * 6
    assert result.end_to_end.mismatches == 0


def test_inputs_may_be_given(tmp_path: Path) -> None:
    arrays = {"x": np.arange(12, dtype=np.int8).reshape(3, 4)}
    save_npz(tmp_path / "in.npz", arrays)
    by_path = verify(two_layers(), inputs=tmp_path / "in.npz")
    by_name = verify(two_layers(), inputs={"features": arrays["x"]})
    assert by_path == by_name
    assert (by_path.samples, by_path.seed) == (3, None)


def test_variables_behind_handles_are_compared_end_to_end() -> None:
    result = verify(remembering(), samples=3)
    assert result.equal
    assert [op.name for op in result.ops if op.not_compared] == ["READ_VARIABLE", "ASSIGN_VARIABLE"]
    assert (result.total.elements, result.end_to_end.elements) == (6, 6)


def test_no_samples_is_an_error() -> None:
    with pytest.raises(InputError, match="at least one sample"):
        verify(two_layers(), samples=0)


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf")])
def test_a_timeout_that_no_clock_counts_is_an_error(timeout: float) -> None:
    with pytest.raises(InputError, match="expected a timeout of more than 0"):
        verify(two_layers(), timeout=timeout)


@pytest.mark.parametrize(
    "named", [{"inputs": [np.zeros((1, 4), np.int8)]}, {"inputs": 5}, {"samples": "x"}, {"runtime": []}, {"seed": -1}]
)
def test_arguments_of_wrong_types_are_input_errors(named: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="expected"):
        verify(two_layers(), **named)


def test_comparing_nothing_is_not_equal() -> None:
    builder = fbs.Builder()
    x = builder.input("x", DType.INT8, (0, 4))
    y = builder.tensor("y", DType.INT8, (0, 2, 2))
    shape = np.array([0, 2, 2], np.int32)
    builder.op("RESHAPE", [x, builder.constant("shape", shape)], [y], new_shape=shape.tolist())
    result = verify(builder.finish([y]), samples=2)
    assert result.total.elements == 0
    assert not result.equal
    assert result.verdict == "nothing was compared"


def test_what_both_sides_refuse_is_located() -> None:
    result = verify(custom_op(), samples=2)
    assert not result.equal
    assert result.death is not None
    assert (result.death.ending, result.death.op_index, result.death.op_name) == (Ending.REFUSED, 1, "Mystery")
    assert "Mystery" in result.refusal


def test_what_quantref_refuses_does_not_hide_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    model = two_layers()
    known = Interpreter.run_op

    def refuse(self: Interpreter, op_index: int, inputs: Inputs) -> Outputs:
        if op_index == 1:
            raise InputError("not today")
        return known(self, op_index, inputs)

    monkeypatch.setattr(Interpreter, "run_op", refuse)
    result = verify(model, samples=2)
    assert [op.difference.elements for op in result.ops] == [6, 0]
    assert result.ops[1].not_compared == "quantref does not run it: not today"


FAKE_LITERT = """
    import os
    import tflite
    class OpResolverType:
        def __class_getitem__(cls, name): return name
    class Interpreter:
        def __init__(self, model_content=None, **others):
            graph = tflite.Model.GetRootAs(model_content).Subgraphs(0)
            if {condition}:
                os.abort()
        def allocate_tensors(self): pass
        def get_input_details(self): return []
    """


def _fake_runtime(folder: Path, condition: str) -> Runtime:
    """Return a runtime that aborts on models for whose main ``graph`` a condition holds."""
    package = folder / "ai_edge_litert"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "interpreter.py").write_text(textwrap.dedent(FAKE_LITERT.format(condition=condition)))
    launcher = folder / "python"
    launcher.write_text(f'#!/bin/sh\nPYTHONPATH={folder} exec {sys.executable} "$@"\n')
    launcher.chmod(0o755)
    return Runtime("fake", Resolver.REFERENCE, "litert-reference", "", launcher=(str(launcher),))


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
@pytest.mark.parametrize(
    ("condition", "evidence"),
    [
        ("b'deadly' in model_content", "this op alone does it"),
        ("graph.OperatorsLength() > 1", "the shortest beginning of the model to do it"),
    ],
)
def test_the_op_that_kills_the_runtime_is_found(tmp_path: Path, condition: str, evidence: str) -> None:
    result = verify(two_layers(("hidden", "deadly")), _fake_runtime(tmp_path, condition), samples=2)
    assert not result.equal
    assert result.death is not None
    assert (result.death.ending, result.death.signal) == (Ending.CRASHED, "SIGABRT")
    assert (result.death.op_index, result.death.evidence) == (1, evidence)
    assert result.refusal == ""
    assert "died (SIGABRT) at op 1 FULLY_CONNECTED" in result.summary()


def test_an_executor_changes_nothing_when_the_runtime_dies(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of sixteen samples kills the runtime: those behind it are not compared, in whichever process they are."""
    module = sys.modules[verify.__module__]
    monkeypatch.setattr(module, "examine", lambda *arguments: Death(Ending.CRASHED, f"{len(arguments[3])} samples"))
    real = LiteRT.stream

    def dying(self: LiteRT, model: bytes, samples: Sequence[Sequence[Array]], **options: Any) -> Iterator[Any]:
        for sample, answer in zip(samples, real(self, model, samples, **options), strict=True):
            if sample[0][0, 0] == 5:
                raise RuntimeCrashed("died", signal="SIGSEGV")
            yield answer

    monkeypatch.setattr(LiteRT, "stream", dying)
    inputs = {"x": np.arange(16, dtype=np.int8)[:, None] * np.ones((1, 4), np.int8)}
    alone = verify(two_layers(), inputs=inputs)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        assert verify(two_layers(), inputs=inputs, executor=pool) == alone
    assert alone.total.elements == 5 * (3 + 2)
    assert alone.death is not None


@pytest.mark.parametrize("jobs", [None, 2])
def test_no_samples_in_a_file_compare_nothing(jobs: int | None) -> None:
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        result = verify(two_layers(), inputs={"x": np.zeros((0, 4), np.int8)}, executor=pool if jobs else None)
    assert (result.equal, result.verdict) == (False, "nothing was compared")


def test_an_executor_does_not_spread_models_with_handles() -> None:
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        assert verify(remembering(), samples=9, executor=pool).to_json() == verify(remembering(), samples=9).to_json()


def test_a_result_knows_when_it_is_not_equal() -> None:
    good = verify(two_layers(), samples=1)
    assert good.equal
    assert not dataclasses.replace(good, refusal="cannot").equal
    assert not VerifyResult("m", "r", "v", "p", 1, 0, (), ()).equal


def test_bundled_models(data: Path) -> None:
    for name in ("digits_int8", "digits_float32"):
        result = verify(data / f"{name}.tflite", samples=3)
        assert result.equal, result.summary()


@pytest.mark.shared
@pytest.mark.parametrize("name", REAL_MODELS)
def test_real_models(shared: Path, name: str) -> None:
    result = verify(shared / f"models/{name}.tflite", samples=2)
    assert result.equal, result.summary()


@pytest.mark.shared
def test_the_model_that_crashes_litert(shared: Path) -> None:
    result = verify(shared / "models/tflm/keyword_scrambled_int8.tflite", samples=5)
    assert not result.equal
    assert result.death is not None
    assert result.death.ending is Ending.CRASHED
    assert result.death.signal in {"SIGABRT", "SIGSEGV"}
    assert (result.death.op_index, result.death.op_name) == (1, "SVDF")


@pytest.mark.shared
def test_the_model_that_litert_refuses(shared: Path) -> None:
    result = verify(shared / "models/tflm/person_detect_int8.tflite", samples=1)
    assert result.death is not None
    assert result.death.ending is Ending.REFUSED
    assert "quantized_dimension" in result.death.message

"""What can run a suite: runtimes, commands, functions, outputs made before; and what becomes of those that fail."""

from __future__ import annotations

import os
import pickle
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from qmath.errors import InputError
from quantref.conform.judge import compare, judge
from quantref.conform.result import CaseResult, Outcome
from quantref.conform.runners import DumpRunner, InProcessRunner, LiteRTRunner, QuantrefRunner, Runner, find_runner
from quantref.runtimes import litert_installed
from quantref.vectors.suite import join_invocations
from tests.quantref.conform import devices
from tests.quantref.conform.suites import Made, mixed, of_cell, of_model
from tests.quantref.small_models import with_state

HERE = "tests.quantref.conform.devices"
ADD, MUL = of_cell("ADD int8", 1)[0], of_cell("MUL int8", 1)[0]
STATE = of_model("svdf", "SVDF", with_state(), 3)
GARBAGE = mixed()[-1]
#: A device as a vendor may write it: it gives its first input back.
COPY = """
    import sys
    import numpy as np
    model, inputs, outputs = sys.argv[1:4]
    given = np.load(inputs)
    np.savez(outputs, {answer})
"""


def run(runner: Runner, *cases: Made) -> list[CaseResult]:
    """Judge cases on one device."""
    with runner.start() as device:
        return [judge(case.trial(), device) for case in cases]


def script(folder: Path, text: str, placeholders: str = "{model} {inputs} {outputs}", timeout: float = 30) -> Runner:
    """Return the runner of a Python script."""
    file = folder / "device.py"
    file.write_text(textwrap.dedent(text))
    return find_runner(f"'{sys.executable}' -I '{file}' {placeholders}", timeout)


# --- Runtimes and quantref ----------------------------------------------------------------------------------------


@pytest.mark.litert
@pytest.mark.skipif(not litert_installed(), reason="ai-edge-litert is not installed")
def test_litert_runs_every_kind_of_case() -> None:
    results = run(find_runner("litert-reference"), *mixed())
    assert [result.outcome for result in results] == [Outcome.PASSED] * len(results), results
    assert sum(result.difference.elements for result in results) > 1000


def test_quantref_runs_every_kind_of_case_under_any_profile() -> None:
    runner = find_runner("quantref:xnnpack")
    assert runner == QuantrefRunner("xnnpack")
    (result,) = run(runner, STATE)
    assert result.outcome is Outcome.PASSED
    assert result.follows == {"litert-reference": 0, "litert-optimized": 0, "xnnpack": 0}


def test_a_refusal_has_to_be_of_the_expected_class_where_the_device_names_one() -> None:
    unsupported = Made("garbage", "NEGATIVE", b"no model", (), "", "negative", expected_error="UnsupportedError")
    passed, failed = run(QuantrefRunner("litert-reference"), GARBAGE, unsupported)
    assert passed.outcome is Outcome.PASSED
    assert failed.outcome is Outcome.DIFFERENT
    assert "expected a refusal as UnsupportedError, found ModelError" in failed.message


# --- Functions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["in_order", "chatters", "Stateful"])
def test_a_function_runs_in_a_child_process(name: str) -> None:
    results = run(find_runner(f"{HERE}:{name}"), ADD, MUL, GARBAGE)
    assert [result.outcome for result in results] == [Outcome.PASSED] * 3, results


def test_a_class_keeps_state_between_the_invocations_of_a_case() -> None:
    (kept,) = run(InProcessRunner(devices.Stateful), STATE)
    (lost,) = run(InProcessRunner(devices.right), STATE)
    assert kept.outcome is Outcome.PASSED
    assert lost.outcome is Outcome.DIFFERENT
    assert lost.difference.first is not None
    assert lost.difference.first.sample > 0


def test_a_crash_is_named_and_the_next_case_is_well() -> None:
    first, second, third = run(find_runner(f"{HERE}:dies_of_mul"), MUL, ADD, MUL)
    assert first.outcome is third.outcome is Outcome.CRASHED
    assert "SIGSEGV" in first.message
    assert second.outcome is Outcome.PASSED


def test_a_device_that_hangs_is_ended_and_the_next_case_is_well() -> None:
    first, second = run(find_runner(f"{HERE}:hangs_at_mul", timeout=4.0), MUL, ADD)
    assert first.outcome is Outcome.TIMED_OUT
    assert "4 s" in first.message
    assert second.outcome is Outcome.PASSED


def test_a_wrong_element_is_found_and_placed() -> None:
    (result,) = run(InProcessRunner(devices.off_by_one), ADD)
    assert result.outcome is Outcome.DIFFERENT
    assert (result.difference.mismatches, result.output) == (1, "y")
    assert result.difference.first is not None
    assert set(result.difference.first.index) == {0}
    assert result.found is not None


@pytest.mark.parametrize(
    ("name", "outcome", "words"),
    [
        ("refuses", Outcome.REFUSED, "NotImplementedError: not on this chip"),
        ("accepts", Outcome.NO_ANSWER, "expected outputs called 'y', found none"),
        ("wrong_type", Outcome.DIFFERENT, "expected int8["),
    ],
)
def test_what_is_no_right_answer_says_why(name: str, outcome: Outcome, words: str) -> None:
    (result,) = run(InProcessRunner(getattr(devices, name)), ADD)
    assert result.outcome is outcome
    assert words in result.message


def test_a_device_must_refuse_what_is_no_model() -> None:
    refused, accepted = (run(InProcessRunner(f), GARBAGE)[0] for f in (devices.refuses, devices.accepts))
    assert refused.outcome is Outcome.PASSED
    assert accepted.outcome is Outcome.ACCEPTED
    assert "expected a refusal (ModelError), found outputs" in accepted.message


# --- Commands -----------------------------------------------------------------------------------------------------


def test_a_command_reads_and_writes_files(tmp_path: Path) -> None:
    named, unnamed = (run(script(tmp_path, COPY.format(answer=a)), ADD)[0] for a in ("y=given['x1']", "given['x1']"))
    assert named == unnamed
    assert named.outcome is Outcome.DIFFERENT  # it ran, and a copy is no sum
    assert named.difference.mismatches > 0


def test_several_invocations_are_numbered(tmp_path: Path) -> None:
    outputs = join_invocations(STATE.outputs("litert-reference"))
    (tmp_path / "right.npz").write_bytes(outputs)
    text = f"""
        import shutil, sys
        import numpy as np
        assert sorted(np.load(sys.argv[2])) == ["0/x", "1/x", "2/x"]
        assert sys.argv[4] == "svdf" and sys.argv[3].startswith(sys.argv[5])
        shutil.copy({str(tmp_path / "right.npz")!r}, sys.argv[3])
    """
    (result,) = run(script(tmp_path, text, "{model} {inputs} {outputs} {case} {directory}"), STATE)
    assert result.outcome is Outcome.PASSED, result.message


@pytest.mark.parametrize(
    ("text", "outcome", "words"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGABRT)", Outcome.CRASHED, "SIGABRT"),
        ("print('no such op'); raise SystemExit(3)", Outcome.REFUSED, "exit code 3; its last words: no such op"),
        ("raise SystemExit(139)", Outcome.CRASHED, "SIGSEGV"),
        ("pass", Outcome.NO_ANSWER, "expected the command to write {outputs}, found no file"),
        ("open(__import__('sys').argv[3], 'w').write('x')", Outcome.NO_ANSWER, "{directory}/outputs.npz: expected"),
        ("import sys, numpy; numpy.savez(sys.argv[3], z=[1])", Outcome.NO_ANSWER, "expected outputs called 'y'"),
        ("import sys; sys.exit(sys.argv[1])", Outcome.REFUSED, "{directory}/model.tflite"),
    ],
)
def test_a_command_that_fails_says_how(tmp_path: Path, text: str, outcome: Outcome, words: str) -> None:
    (result,) = run(script(tmp_path, text), ADD)
    assert result.outcome is outcome, result.message
    assert words in result.message


def test_a_command_that_hangs_is_killed_with_what_it_started(tmp_path: Path) -> None:
    text = f"""
        import subprocess, sys, time
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        open({str(tmp_path / "pid")!r}, "w").write(str(child.pid))
        time.sleep(600)
    """
    (result,) = run(script(tmp_path, text, timeout=2.0), ADD)
    assert result.outcome is Outcome.TIMED_OUT
    pid = int((tmp_path / "pid").read_text())
    for _ in range(100):
        if not _alive(pid):
            return
        time.sleep(0.05)
    pytest.fail("a process that the command started is still there")


def _alive(pid: int) -> bool:
    state = Path(f"/proc/{pid}/stat")
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"


# --- Outputs made before ------------------------------------------------------------------------------------------


def test_outputs_made_before_are_judged(tmp_path: Path) -> None:
    (tmp_path / f"{ADD.id}.npz").write_bytes(join_invocations(ADD.outputs("litert-reference")))
    (tmp_path / f"{STATE.id}.npz").write_bytes(join_invocations(STATE.outputs("litert-reference")))
    (tmp_path / f"{GARBAGE.id}.error").write_text("does not parse\n")
    runner = find_runner(str(tmp_path))
    assert runner == DumpRunner(str(tmp_path))
    results = run(runner, ADD, STATE, GARBAGE, MUL)
    assert [result.outcome for result in results] == [Outcome.PASSED] * 3 + [Outcome.NO_ANSWER]
    assert "expected mul-int8-0000.npz, or mul-int8-0000.error" in results[-1].message


# --- What a user may type -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("litert", "expected a runtime (litert-reference"),
        ("tflm", "did you mean quantref:tflm?"),
        ("quantref:litert", "expected a profile among"),
        ("./device {model} {output}", "expected placeholders among"),
        ("./device {model}", "expected {outputs} or {directory} in the command"),
        ("no-such-program {model} {outputs}", "found none called 'no-such-program'"),
        ("'unfinished {model} {outputs}", "No closing quotation"),
        ("no_such_module:run", "ModuleNotFoundError"),
        (f"{HERE}:no_such_function", "AttributeError"),
        (f"{HERE}:NUMBER", "a int cannot be called"),
    ],
)
def test_what_is_no_runner_is_refused_at_once(text: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        find_runner(text).check()
    assert words in str(caught.value)


def test_braces_that_are_no_placeholders_stay(tmp_path: Path) -> None:
    text = "import json, sys; sys.exit(json.loads(sys.argv[1])['a'])"
    (result,) = run(script(tmp_path, text, "'{\"a\": 5}' {directory}"), ADD)
    assert "exit code 5" in result.message


def test_runners_are_values_that_travel() -> None:
    for runner in (LiteRTRunner("xnnpack", 3.0), find_runner("./device {directory}"), find_runner(f"{HERE}:right")):
        assert pickle.loads(pickle.dumps(runner)) == runner  # noqa: S301 - our own


def test_two_nans_match_and_floats_may_be_near() -> None:
    expected = ({"y": np.array([1.0, np.nan, 100.0], np.float32)},)
    near = ({"y": np.array([1.0 + 1e-6, np.nan, 100.0], np.float32)},)
    far = ({"y": np.array([1.1, np.nan, 100.0], np.float32)},)
    assert compare(expected, near)[0].mismatches == 0
    assert compare(expected, far)[0].mismatches == 1

"""LiteRT behind its interface: results, refusals, deaths, deadlines."""

from __future__ import annotations

import concurrent.futures
import os
import pickle
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from qmath.errors import InputError, RuntimeUnavailableError
from quantref.runtimes import (
    RUNTIMES,
    LiteRT,
    Resolver,
    Runtime,
    RuntimeCrashed,
    RuntimeRefused,
    RuntimeTimedOut,
    find_runtime,
    litert,
    litert_installed,
)

pytestmark = [
    pytest.mark.litert,
    pytest.mark.skipif(not litert_installed(), reason="ai-edge-litert is not installed"),
]


@pytest.fixture(scope="module")
def int8_model(data: Path) -> bytes:
    return (data / "digits_int8.tflite").read_bytes()


@pytest.fixture(scope="module")
def image(data: Path) -> np.ndarray:
    with np.load(data / "digits.npz") as digits:
        pixels = digits["test_images"][:1].reshape(1, 8, 8, 1).astype(np.int32)
    return (pixels * 255 // 16 - 128).astype(np.int8)


@pytest.mark.parametrize("name", RUNTIMES)
def test_each_runtime_gives_every_tensor(name: str, int8_model: bytes, image: np.ndarray) -> None:
    with LiteRT(name) as runtime:
        (answer,) = runtime.run(int8_model, [[image]])
        assert runtime.version.startswith("ai-edge-litert ")
    assert np.array_equal(answer.tensors[0], image)
    assert len(answer.outputs) == 1
    assert len(answer.tensors) > 10


def test_outputs_do_not_depend_on_what_is_kept(litert: LiteRT, int8_model: bytes, image: np.ndarray) -> None:
    (everything,) = litert.run(int8_model, [[image]])
    (nothing,) = litert.run(int8_model, [[image]], all_tensors=False)
    (some,) = litert.run(int8_model, [[image]], tensors=[0])
    assert np.array_equal(everything.outputs[0], nothing.outputs[0])
    assert nothing.tensors == {}
    assert list(some.tensors) == [0]


def test_a_path_serves_as_well_as_bytes(litert: LiteRT, data: Path, int8_model: bytes, image: np.ndarray) -> None:
    by_path = litert.run(data / "digits_int8.tflite", [[image]])
    by_bytes = litert.run(int8_model, [[image]])
    assert np.array_equal(by_path[0].outputs[0], by_bytes[0].outputs[0])


def test_inputs_by_index_name_or_both(litert: LiteRT, int8_model: bytes, image: np.ndarray) -> None:
    with pytest.raises(InputError, match="expected an input among") as caught:
        litert.run(int8_model, [{"no such": image}])
    name = str(caught.value).split("(")[1].split(")")[0]
    for key in (0, name, f"0:{name}"):
        assert litert.run(int8_model, [{key: image}])


def test_resizing_runs_a_batch(litert: LiteRT, int8_model: bytes, image: np.ndarray) -> None:
    batch = np.concatenate([image, image[:, ::-1], image])
    (answer,) = litert.run(int8_model, [[batch]], resize=True)
    (single,) = litert.run(int8_model, [[image]], resize=True)
    assert answer.outputs[0].shape == (3, 10)
    assert np.array_equal(answer.outputs[0][2:], single.outputs[0])


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        ([], "expected 1 inputs, found 0"),
        ([np.zeros((1, 8, 8, 1), np.int32)], "INT32"),
        ([np.zeros((1, 8, 7, 1), np.int8)], "expected 8"),
    ],
)
def test_a_sample_that_does_not_fit_is_an_input_error(
    litert: LiteRT, int8_model: bytes, sample: list[np.ndarray], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        litert.run(int8_model, [sample])


def test_a_model_that_litert_declines(litert: LiteRT) -> None:
    with pytest.raises(RuntimeRefused, match="not a valid Flatbuffer") as caught:
        litert.run(b"no model at all", [])
    assert caught.value.stage == "load"
    with pytest.raises(InputError, match="found nothing at"):
        litert.run("no/such/model.tflite", [])


def test_a_refusal_names_the_op() -> None:
    refused = RuntimeRefused("", reason="conv.cc:1 x != y Node number 3 (CONV_2D) failed to prepare.")
    assert (refused.op_index, refused.op_name) == (3, "CONV_2D")
    assert RuntimeRefused("", reason="something else").op_index is None


def test_a_hang_is_ended_in_time(int8_model: bytes, image: np.ndarray) -> None:
    with LiteRT() as runtime:
        with pytest.raises(RuntimeTimedOut, match=r"no answer within 0\.3 s"):
            runtime.time(int8_model, [image], repeat=10**9, timeout=0.3)
        assert runtime.run(int8_model, [[image]])


def _worker(tmp_path: Path, body: str) -> Runtime:
    """Return a runtime whose Python finds ``body`` in the place of LiteRT."""
    package = tmp_path / "ai_edge_litert"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "interpreter.py").write_text(textwrap.dedent(body))
    launcher = tmp_path / "python"
    launcher.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path} exec {sys.executable} "$@"\n')
    launcher.chmod(0o755)
    return Runtime("fake", Resolver.REFERENCE, "litert-reference", "", launcher=(str(launcher),))


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_a_crash_is_reported_with_signal_and_last_words(tmp_path: Path) -> None:
    body = """
        import os, sys
        class OpResolverType:
            def __class_getitem__(cls, name): return name
        def Interpreter(**arguments):
            if arguments["model_content"] == b"good":
                raise ValueError("declined")
            print("corrupted heap", file=sys.stderr, flush=True)
            os.abort()
        """
    with LiteRT(_worker(tmp_path, body)) as runtime:
        with pytest.raises(RuntimeRefused, match="declined"):
            runtime.run(b"good", [])
        with pytest.raises(RuntimeCrashed, match=r"SIGABRT.*corrupted heap") as caught:
            runtime.run(b"bad", [])
        assert caught.value.signal == "SIGABRT"
        with pytest.raises(RuntimeRefused, match="declined"):
            runtime.run(b"good", [])


@pytest.mark.skipif(os.name != "posix", reason="needs a launcher script")
def test_a_runtime_that_cannot_start_says_so(tmp_path: Path) -> None:
    runtime = _worker(tmp_path, "raise ImportError('no such wheel')")
    with LiteRT(runtime) as broken, pytest.raises(RuntimeUnavailableError, match="no such wheel"):
        broken.run(b"", [])


@pytest.mark.skipif(os.name != "posix", reason="needs a launcher script")
@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (None, "cannot be started: No such file"),
        ("no program at all", "cannot be started: Exec format error"),
        ("#!/bin/sh\nexit 3\n", "died of exit code 3"),
        ("#!/bin/sh\necho 'A banner that nobody asked for'\nexec sleep 5\n", "an answer that cannot be read"),
        ("#!/bin/sh\nprintf '\\003\\0\\0\\0\\0\\0\\0\\0abc'\nexec sleep 5\n", "an answer that cannot be read"),
    ],
)
def test_a_program_that_is_no_runtime_is_unavailable(tmp_path: Path, script: str | None, reason: str) -> None:
    launcher = tmp_path / "python"
    if script is not None:
        launcher.write_text(script)
        launcher.chmod(0o755)
    runtime = Runtime("fake", Resolver.REFERENCE, "litert-reference", "", launcher=(str(launcher),))
    with LiteRT(runtime) as broken, pytest.raises(RuntimeUnavailableError, match=f"fake does not start.*{reason}"):
        broken.run(b"", [])


@pytest.mark.skipif(os.name != "posix", reason="needs a launcher script")
def test_garbage_between_answers_is_told_from_a_death(tmp_path: Path) -> None:
    body = """
        import os, time
        class OpResolverType:
            def __class_getitem__(cls, name): return name
        def Interpreter(**arguments):
            os.write(3, b"garbage that is no frame")  # where the answers go
            time.sleep(30)
        """
    with LiteRT(_worker(tmp_path, body)) as runtime, pytest.raises(RuntimeCrashed, match="cannot be read") as caught:
        runtime.run(b"", [])
    assert caught.value.signal == ""


def test_not_installed_says_how_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(litert, "litert_installed", lambda: False)
    with pytest.raises(RuntimeUnavailableError, match=r"pip install 'quantref\[litert\]'"):
        LiteRT()


def test_a_child_killed_from_outside_is_replaced(int8_model: bytes, image: np.ndarray) -> None:
    with LiteRT() as runtime:
        (before,) = runtime.run(int8_model, [[image]])
        assert runtime._child is not None
        os.kill(runtime._child._process.pid, signal.SIGTERM)
        (after,) = runtime.run(int8_model, [[image]])
    assert np.array_equal(before.outputs[0], after.outputs[0])


def test_an_abandoned_stream_does_not_disturb_the_next_call(int8_model: bytes, image: np.ndarray) -> None:
    with LiteRT() as runtime:
        stream = runtime.stream(int8_model, [[image], [image[:, ::-1]]])
        first = next(stream)
        stream.close()
        (again,) = runtime.run(int8_model, [[image]])
    assert np.array_equal(first.outputs[0], again.outputs[0])


def test_a_call_within_a_stream_is_declined(int8_model: bytes, image: np.ndarray) -> None:
    with LiteRT() as runtime:
        stream = runtime.stream(int8_model, [[image], [image]])
        next(stream)
        with pytest.raises(InputError, match="read to its end"):
            runtime.run(int8_model, [[image]])
        assert len(list(stream)) == 1
        assert runtime.run(int8_model, [[image]])
        next(runtime.stream(int8_model, [[image], [image]]))


def test_threads_take_turns(litert: LiteRT, int8_model: bytes, image: np.ndarray) -> None:
    images = [np.roll(image, step, axis=1) for step in range(8)]
    one_by_one = [litert.run(int8_model, [[x]])[0].outputs[0] for x in images]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda x: litert.run(int8_model, [[x]])[0].outputs[0], images))
    assert all(np.array_equal(*pair) for pair in zip(one_by_one, together, strict=True))


def test_times_are_positive(litert: LiteRT, int8_model: bytes, image: np.ndarray) -> None:
    seconds = litert.time(int8_model, [image], repeat=3)
    assert len(seconds) == 3
    assert min(seconds) > 0


def test_failures_survive_pickling() -> None:
    crashed = pickle.loads(pickle.dumps(RuntimeCrashed("died", signal="SIGSEGV").within("op 3")))  # noqa: S301 - ours
    assert (str(crashed), crashed.signal) == ("op 3: died", "SIGSEGV")


def test_an_unknown_runtime_lists_those_known() -> None:
    with pytest.raises(InputError, match="litert-reference"):
        find_runtime("tensorrt")


def test_an_open_child_does_not_keep_the_interpreter_alive(int8_model: bytes) -> None:
    program = "from quantref.runtimes import LiteRT\nruntime = LiteRT()\nprint(runtime.version)"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.startswith("ai-edge-litert")
    assert done.stderr == ""


@pytest.mark.shared
def test_what_litert_cannot_run(litert: LiteRT, shared: Path) -> None:
    with pytest.raises(RuntimeRefused, match="quantized_dimension"):
        litert.run(shared / "models/tflm/person_detect_int8.tflite", [])
    sample = [np.zeros((1, 96), np.int16)]
    with pytest.raises(RuntimeCrashed) as caught:
        litert.run(shared / "models/tflm/keyword_scrambled_int8.tflite", [sample] * 4)
    assert caught.value.signal in {"SIGSEGV", "SIGABRT", "SIGBUS"}

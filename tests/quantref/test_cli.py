"""The command line: exit codes, JSON, one line an error."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fbs
from qmath.types import DType
from quantref.cli import main
from quantref.npz import load_npz, save_npz
from quantref.runtimes import litert_installed
from tests.quantref.small_models import custom_op, two_layers

needs_litert = pytest.mark.skipif(not litert_installed(), reason="ai-edge-litert is not installed")
VERBS = ("demo", "inspect", "run", "verify")


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


@pytest.mark.parametrize("verb", VERBS)
def test_help_has_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    out = capsys.readouterr().out
    assert f"quantref {verb}" in out.split("Examples:")[1]
    assert "--json" in out


def test_help_lists_the_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"  {verb} " in out for verb in VERBS)


@needs_litert
@pytest.mark.litert
def test_verify_equal(model: Path, inputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(model), "--samples", "3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["equal"], found["elements"], found["model"]) == (True, 15, "two_layers.tflite")
    assert main(["verify", str(model), "--inputs", str(inputs)]) == 0
    shown = capsys.readouterr()
    assert "two_layers.tflite: equal" in shown.out
    assert shown.err == ""


@needs_litert
@pytest.mark.litert
def test_verify_in_several_processes_gives_the_same(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outputs = []
    for jobs in ("1", "2"):
        assert main(["verify", str(model), "--samples", "4", "--jobs", jobs, "--json"]) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1]


@needs_litert
@pytest.mark.litert
def test_verify_findings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fbs.save(custom_op(), tmp_path / "custom.tflite")
    assert main(["verify", str(tmp_path / "custom.tflite")]) == 1
    assert "refused the model" in capsys.readouterr().out


def test_run_writes_outputs(model: Path, inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.npz"
    assert main(["run", str(model), "--inputs", str(inputs), "-o", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tensors"] == {"y": {"dtype": "int8", "shape": [3, 2]}}
    once = out.read_bytes()
    assert main(["run", str(model), "--inputs", str(inputs), "-o", str(out)]) == 0
    assert out.read_bytes() == once
    assert "y  int8 [3, 2]" in capsys.readouterr().out


def test_run_writes_all_tensors(model: Path, inputs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.npz"
    assert main(["run", str(model), "--inputs", str(inputs), "-o", str(out), "--all-tensors"]) == 0
    found = load_npz(out)
    assert {name: array.shape for name, array in found.items()} == {
        "x": (3, 4),
        "w0": (3, 4),
        "b0": (3,),
        "hidden": (3, 3),
        "w1": (2, 3),
        "b1": (2,),
        "y": (3, 2),
    }
    assert np.array_equal(found["x"], load_npz(inputs)["x"])


def test_inspect(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(model)]) == 0
    assert "FULLY_CONNECTED" in capsys.readouterr().out
    assert main(["inspect", str(model), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["op_counts"] == {"FULLY_CONNECTED": 2}


@pytest.mark.parametrize(
    "arguments",
    [
        ["frobnicate"],
        ["inspect"],
        ["inspect", "no-such.tflite"],
        ["verify", "MODEL", "--samples", "0"],
        ["verify", "MODEL", "--runtime", "tensorrt"],
        ["run", "MODEL", "--inputs", "MODEL", "-o", "out.npz"],
        ["run", "MODEL", "--inputs", "INPUTS", "-o", "no/such/folder/out.npz"],
        ["run", "MODEL", "--inputs", "INPUTS", "-o", "out.npz", "--profile", "abacus"],
        ["inspect", "INPUTS"],
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: list[str], model: Path, inputs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(model.parent)
    places = {"MODEL": str(model), "INPUTS": str(inputs)}
    assert main([places.get(argument, argument) for argument in arguments]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    assert shown.err.startswith("quantref: ")
    assert not (model.parent / "out.npz").exists()


@pytest.mark.parametrize("arguments", [[], ["profiles"]])
def test_no_verb_shows_the_help_as_a_page(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("Usage: quantref")
    assert "\n\nCommands:\n" in shown.err


def test_names_are_printed_as_they_are(inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also those that look like markup or like an emoji to what prints the tables."""
    folder = tmp_path / "a [" / "b]"
    folder.mkdir(parents=True)  # "[/b]" ends bold text
    model, output = folder / ":star:.tflite", folder / "[red]:star:.npz"
    fbs.save(two_layers(("[/b]:star:", "y")), model)
    assert main(["run", str(model), "--inputs", str(inputs), "-o", str(output), "--all-tensors"]) == 0
    out = capsys.readouterr().out
    assert str(output) in out
    assert "[/b]:star:" in out
    assert main(["inspect", str(model)]) == 0
    assert "[/b]:star:" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["inspect"], ["inspect", "--json"]])
def test_characters_that_stdout_cannot_hold_are_escaped(arguments: list[str], tmp_path: Path) -> None:
    model = tmp_path / "größe.tflite"
    fbs.save(two_layers(("hüllkurve" * 20, "y")), model)
    program = "import sys; from quantref.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments, str(model)],
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    shown = done.stdout.decode("ascii")
    assert "gr\\" in shown
    if "--json" in arguments:
        assert json.loads(shown)["model"] == "größe.tflite"


@pytest.mark.parametrize(
    "command",
    [
        "run MODEL --inputs INPUTS -o OUT --all-tensors",
        "trace MODEL -o OUT",
        "check MODEL --sarif OUT",
        "quantize DIGITS -o OUT --mode float16",
        "optimize DIGITS -o OUT --prune 0.5",
        "calibrate DIGITS --data DATA -o OUT",
        "vectors -o OUT",
    ],
)
def test_a_full_disk_is_bad_input_and_leaves_no_file(
    command: str, model: Path, inputs: Path, data: Path, tmp_path: Path
) -> None:
    images, out = tmp_path / "images.npz", tmp_path / "out" / "result"
    save_npz(images, {"image": np.zeros((2, 8, 8, 1), np.float32)})
    out.parent.mkdir()
    places = {"MODEL": model, "INPUTS": inputs, "DIGITS": data / "digits_float32.tflite", "DATA": images, "OUT": out}
    limited = (
        "import resource, sys; from quantref.cli import main;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)); sys.exit(main())"
    )
    arguments = [str(places.get(argument, argument)) for argument in command.split()]
    done = subprocess.run([sys.executable, "-c", limited, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert str(out) in done.stderr
    assert [path for path in out.parent.rglob("*") if path.is_file() and ".partial" not in path.parts] == []


def test_our_own_errors_are_exit_code_3(
    model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> None:
        raise KeyError("oops")

    monkeypatch.setattr("quantref.inspect.inspect", broken)
    assert main(["inspect", str(model)]) == 3
    assert capsys.readouterr().err == "quantref: internal error: KeyError: 'oops' (--debug shows where)\n"
    assert main(["inspect", "--debug", str(model)]) == 3
    assert "Traceback" in capsys.readouterr().err


def in_shell(rest: str) -> subprocess.CompletedProcess[str]:
    program = "import sys; from quantref.cli import main; sys.exit(main())"
    shell = f'"{sys.executable}" -W error -c "{program}" {rest}'
    return subprocess.run(["/bin/bash", "-o", "pipefail", "-c", shell], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("arguments", "code"), [("inspect MODEL", 0), ("inspect MODEL --json", 0), ("--help", 0), ("check MODEL", 1)]
)
def test_a_reader_that_leaves_changes_no_exit_code(arguments: str, code: int, tmp_path: Path) -> None:
    model = tmp_path / "odd.tflite"
    fbs.save(_with_findings(), model)
    done = in_shell(arguments.replace("MODEL", f'"{model}"') + " | true")
    assert done.stderr == ""
    assert done.returncode == code


def _with_findings() -> fbs.Model:
    builder = fbs.Builder()
    x, y = builder.input("x", DType.INT8, (1, 4), scale=0.5), builder.tensor("y", DType.INT8, (1, 4), scale=0.5)
    builder.op("SOFTMAX", [x], [y], beta=1.0)  # by the spec its output has a scale of its own
    return builder.finish([y])


def test_a_closed_stdout_is_no_error_and_a_full_one_is_said(model: Path) -> None:
    assert in_shell(f'inspect "{model}" --json >&-').returncode == 0
    if not Path("/dev/full").is_char_device():
        pytest.skip("there is no /dev/full")
    for option in ("", "--json"):
        done = in_shell(f'inspect "{model}" {option} >/dev/full')
        assert done.returncode == 2
        assert done.stderr.startswith("quantref: cannot write to stdout: ")
        assert done.stderr.count("\n") == 1


def test_help_is_quick_because_imports_are_lazy() -> None:
    program = (
        "import sys; from quantref.cli import main; main(['--help']);"
        "sys.exit(any(name in sys.modules for name in ('rich.table', 'ai_edge_litert')))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

"""Calls that programs make of an interpreter, and what they get: run as a script, with LiteRT's or with quantref's.

``python interpreter_calls.py litert MODEL SAMPLES.npz`` prints one JSON list of ``[call, answer]``. LiteRT may die of a
call, so the script is a process of its own; it imports nothing of the tests.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np


def interpreter_class(side: str) -> Callable[..., Any]:
    if side == "quantref":
        from quantref import Interpreter  # noqa: PLC0415 - only one side is there

        return Interpreter
    from ai_edge_litert.interpreter import Interpreter as LiteRTInterpreter  # noqa: PLC0415 - only one side is there

    return LiteRTInterpreter


def resolver(side: str) -> Any:
    if side == "quantref":
        return "BUILTIN_REF"
    from ai_edge_litert.interpreter import OpResolverType  # noqa: PLC0415 - only one side is there

    return OpResolverType.BUILTIN_REF


def plain(value: Any) -> Any:
    """Return what JSON can hold, types included."""
    if isinstance(value, np.ndarray):
        return [str(value.dtype), list(value.shape), value.reshape(-1).tolist()]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [type(value).__name__, *map(plain, value)]
    if isinstance(value, np.generic):
        return plain(np.asarray(value))
    return value if value is None or isinstance(value, str | int | float) else repr(value)


class Log:
    """What each call gave; an exception counts as ``"refused"``, whatever its words."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, Any]] = []

    def __call__(self, name: str, call: Callable[..., Any], *arguments: Any, **named: Any) -> None:
        """Make a call and keep its answer."""
        try:
            answer = plain(call(*arguments, **named))
        except Exception:  # noqa: BLE001 - each side has classes of its own
            answer = "refused"
        self.entries.append((name, answer))


def details(log: Log, interpreter: Any, when: str) -> None:
    log("inputs", interpreter.get_input_details)
    log("outputs", interpreter.get_output_details)
    log("signatures", interpreter.get_signature_list)
    log("subgraphs", interpreter.num_subgraphs)
    log("no such subgraph", interpreter.get_tensor_details, interpreter.num_subgraphs())
    for subgraph in range(interpreter.num_subgraphs()):
        for entry in interpreter.get_tensor_details(subgraph):  # LiteRT adds scratch tensors, with names of its own
            log(f"tensor {subgraph} {entry['name']} {when}", lambda entry=entry: entry)


def invocations(log: Log, interpreter: Any, samples: list[list[Any]], name: str) -> None:
    numbers = [entry["index"] for entry in interpreter.get_input_details()]
    outputs = [entry["index"] for entry in interpreter.get_output_details()]
    for round_, sample in enumerate(samples):
        for number, array in zip(numbers, sample, strict=True):
            given = array.copy()
            log(f"{name} {round_} set", interpreter.set_tensor, number, given)
            given[...] = 0  # the interpreter has its own copy
        log(f"{name} {round_} invoke", interpreter.invoke)
        for number in outputs:
            log(f"{name} {round_} get {number}", overwritten, interpreter, number)
            log(f"{name} {round_} get {number} again", interpreter.get_tensor, number, 0)


def overwritten(interpreter: Any, number: int) -> Any:
    """Return a tensor, whose copy the caller then overwrites; LiteRT gives a scalar that cannot be."""
    array = interpreter.get_tensor(number)
    answer = np.array(array)
    if isinstance(array, np.ndarray):
        array[...] = 1
    return answer


def refusals(log: Log, interpreter: Any, sample: list[Any]) -> None:
    number, array = interpreter.get_input_details()[0]["index"], sample[0]
    other = np.float64 if array.dtype != np.float64 else np.int8
    for name, value in {"type": array.astype(other), "shape": array[None], "nothing": None, "text": "abc"}.items():
        log(f"set another {name}", interpreter.set_tensor, number, value)
    for index in (-1, 10**6, 0.5, "0", None):
        log(f"set {index}", interpreter.set_tensor, index, array)
        log(f"get {index}", interpreter.get_tensor, index)
        log(f"resize {index}", interpreter.resize_tensor_input, index, array.shape)
    for shape in ("abc", 5):
        log(f"resize to {shape}", interpreter.resize_tensor_input, number, shape)
    log("set from a NumPy index", interpreter.set_tensor, np.int64(number), array)


def views(log: Log, interpreter: Any, sample: list[Any]) -> None:
    """Write into the input's memory, more often than it takes to lay a model out."""
    number, output = (
        entry[0]["index"] for entry in (interpreter.get_input_details(), interpreter.get_output_details())
    )
    give, take = interpreter.tensor(number), interpreter.tensor(output)
    for round_ in range(10):
        give()[...] = np.roll(sample[0], round_)
        log(f"view {round_} invoke", interpreter.invoke)
        log(f"view {round_} output", lambda: take().copy())
        log(f"view {round_} input", interpreter.get_tensor, number)


def resizing(log: Log, interpreter: Any, sample: list[Any]) -> None:
    number, shape = interpreter.get_input_details()[0]["index"], sample[0].shape
    log("same size", interpreter.resize_tensor_input, number, shape)
    log("same size invoke", interpreter.invoke)  # nothing to allocate
    larger = np.concatenate([sample[0], sample[0][::-1]])
    log("strict", interpreter.resize_tensor_input, number, larger.shape, strict=True)
    log("resize", interpreter.resize_tensor_input, number, larger.shape)
    log("resized input", lambda: interpreter.get_input_details()[0]["shape"])
    log("invoke too early", interpreter.invoke)
    log("set too early", interpreter.set_tensor, number, larger)
    log("allocate", interpreter.allocate_tensors)
    log("resized outputs", lambda: [entry["shape"] for entry in interpreter.get_output_details()])
    invocations(log, interpreter, [[larger, *sample[1:]]], "resized")
    log("resized tensors", lambda: [entry["shape"] for entry in interpreter.get_output_details()])
    log("back", interpreter.resize_tensor_input, number, shape)
    log("back allocate", interpreter.allocate_tensors)
    invocations(log, interpreter, [sample], "back")


def runners(log: Log, interpreter: Any, sample: list[Any]) -> None:
    for key, names in interpreter.get_signature_list().items():
        runner = interpreter.get_signature_runner(key)
        described = runner.get_input_details()
        log(f"runner {key} inputs", runner.get_input_details)
        log(f"runner {key} outputs", runner.get_output_details)
        order = [entry["index"] for entry in interpreter.get_input_details()]
        arrays = {name: sample[order.index(described[name]["index"])] for name in names["inputs"]}
        log(f"runner {key}", lambda runner=runner, arrays=arrays: runner(**arrays))
        log(f"runner {key} nothing", runner)
        log(f"runner {key} unknown", lambda runner=runner: runner(nobody=1))
        if len(arrays) == 1:
            twice = {name: np.concatenate([array, array]) for name, array in arrays.items()}
            log(f"runner {key} twice", lambda runner=runner, twice=twice: runner(**twice))
            log("input after it", lambda: interpreter.get_input_details()[0]["shape"])
    log("unknown runner", interpreter.get_signature_runner, "nobody")


def calls(side: str, path: str, samples: list[list[Any]]) -> list[tuple[str, Any]]:
    log = Log()
    make, options = interpreter_class(side), {"experimental_op_resolver_type": resolver(side)}
    options["experimental_preserve_all_tensors"] = True
    log("no model", make)
    log("two models", make, model_path=path, model_content=b"x")
    log("no file", make, model_path=path + ".none")
    for threads in (0, 1.5, "2"):
        log(f"{threads!r} threads", make, model_path=path, num_threads=threads)
    log("unknown resolver", make, model_path=path, experimental_op_resolver_type=7)
    interpreter = make(model_path=path, num_threads=1, **options)
    details(log, interpreter, "at first")
    log("invoke too early", interpreter.invoke)
    log("allocate", interpreter.allocate_tensors)
    details(log, interpreter, "allocated")
    invocations(log, interpreter, samples * 3, "run")
    log("reset", interpreter.reset_all_variables)
    invocations(log, interpreter, samples, "after reset")
    log("allocate again", interpreter.allocate_tensors)
    invocations(log, interpreter, samples, "after allocate")
    refusals(log, interpreter, samples[0])
    invocations(log, interpreter, samples[:1], "after refusals")
    if samples[0][0].ndim > 1:
        views(log, interpreter, samples[0])
    if samples[0][0].ndim > 1 and not any(entry["name"] == "state" for entry in interpreter.get_tensor_details()):
        resizing(log, interpreter, samples[0])
    runners(log, interpreter, samples[0])
    return log.entries


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    with np.load(sys.argv[3]) as archive:
        given = [[archive[f"{row}_{column}"] for column in range(archive["columns"])] for row in range(archive["rows"])]
    json.dump(calls(sys.argv[1], sys.argv[2], given), sys.stdout)

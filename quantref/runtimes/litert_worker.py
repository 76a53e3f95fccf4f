"""The child process that runs LiteRT: reads requests from stdin, writes answers to what was stdout.

It is started as a script, by :class:`quantref.runtimes.litert.LiteRT`, and imports nothing of quantref, so that
any Python that has ``ai_edge_litert`` can run it. A frame is its length in eight bytes and a pickle. Requests
and answers are built of tuples, dicts, plain values and arrays only.

Answers, by their first item:

``("hello", version, machine)``
    once, when LiteRT is imported; ``("unavailable", reason)`` if it cannot be.
``("ready",)``
    the model is loaded and prepared.
``("sample", outputs, tensors)``
    one for each sample; ``("times", seconds)`` instead, when asked to measure.
``("done",)``
    the interpreter is gone: a heap that it damaged has had its chance to be noticed.
``("refused", stage, reason)`` or ``("input", reason)``
    LiteRT declined; the request is over.
"""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import platform
import signal
import struct
import sys
import time
import warnings
from collections.abc import Iterator
from typing import Any, BinaryIO

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

#: Seconds after the parent's own deadline at which a child without a parent ends itself.
_GRACE = 10
_LENGTH = struct.Struct("<Q")


class DeclinedError(Exception):
    """LiteRT raised; carries the answer to give."""


def read_frame(stream: BinaryIO) -> Any:
    """Return the next request, or None at the end."""
    header = stream.read(_LENGTH.size)
    if len(header) < _LENGTH.size:
        return None
    return pickle.loads(stream.read(_LENGTH.unpack(header)[0]))  # noqa: S301 - the other end is our own parent


def write_frame(stream: BinaryIO, value: Any) -> None:
    """Send one request or answer."""
    frame = pickle.dumps(value, protocol=5)
    stream.write(_LENGTH.pack(len(frame)))
    stream.write(frame)
    stream.flush()


@contextlib.contextmanager
def _declining(*answer: str) -> Iterator[None]:
    """Turn LiteRT's exceptions into an answer."""
    try:
        yield
    except (ValueError, RuntimeError, TypeError, MemoryError) as error:
        raise DeclinedError((*answer, str(error))) from error


def _open(request: dict[str, Any]) -> Any:
    """Load the model."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType  # noqa: PLC0415 - not in the parent

    where = "model_path" if isinstance(request["model"], str) else "model_content"
    with _declining("refused", "load"):
        return Interpreter(
            **{where: request["model"]},
            num_threads=request["threads"],
            experimental_op_resolver_type=OpResolverType[request["resolver"]],
            experimental_preserve_all_tensors=request["preserve"],
        )


def _position(details: list[dict[str, Any]], key: int | str) -> dict[str, Any]:
    """Return the input that a sample's key means: a tensor index, a name, or ``index:name``."""
    for detail in details:
        if key in (detail["index"], detail["name"], f"{detail['index']}:{detail['name']}"):
            return detail
    known = ", ".join(f"{detail['index']} ({detail['name']})" for detail in details)
    raise DeclinedError(("input", f"expected an input among {known}, found {key!r}"))


def _feed(interpreter: Any, sample: Any, *, resize: bool, first: bool) -> None:
    """Set the inputs to a sample; if asked to, resize them and prepare the model, first or where shapes changed."""
    details = interpreter.get_input_details()
    if isinstance(sample, dict):
        pairs = [(_position(details, key), value) for key, value in sample.items()]
    else:
        pairs = list(zip(details, sample, strict=False))
    if len(pairs) != len(details) or (not isinstance(sample, dict) and len(sample) != len(details)):
        raise DeclinedError(("input", f"expected {len(details)} inputs, found {len(sample)}"))
    changed = [(detail, value) for detail, value in pairs if tuple(detail["shape"]) != value.shape] if resize else []
    for detail, value in changed:
        with _declining("refused", "prepare"):
            interpreter.resize_tensor_input(detail["index"], value.shape)
    if changed or (resize and first):
        with _declining("refused", "prepare"):
            interpreter.allocate_tensors()
    for detail, value in pairs:
        with _declining("input"):
            interpreter.set_tensor(detail["index"], value)


def _kept(interpreter: Any, wanted: list[int] | None) -> dict[int, Any]:
    """Return every tensor asked for (None: all) whose memory the runtime still has."""
    indices = [detail["index"] for detail in interpreter.get_tensor_details()]
    tensors = {}
    for index in indices if wanted is None else sorted(set(wanted).intersection(indices)):
        with contextlib.suppress(ValueError):
            tensors[index] = interpreter.get_tensor(index)
    return tensors


def _run(interpreter: Any, request: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    for number, sample in enumerate(request["samples"]):
        _alarm(request["timeout"])
        _feed(interpreter, sample, resize=request["resize"], first=number == 0)
        if request["reset"]:
            interpreter.reset_all_variables()
        with _declining("refused", "invoke"):
            interpreter.invoke()
            outputs = [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]
        yield "sample", outputs, _kept(interpreter, request["tensors"]) if request["preserve"] else {}


def _time(interpreter: Any, request: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    _feed(interpreter, request["samples"][0], resize=request["resize"], first=True)
    seconds = []
    with _declining("refused", "invoke"):
        for _ in range(request["warm_up"]):
            interpreter.invoke()
        for _ in range(request["repeat"]):
            start = time.perf_counter()
            interpreter.invoke()
            seconds.append(time.perf_counter() - start)
    yield "times", seconds


def _alarm(seconds: float) -> None:
    """End this process if the parent, which should do so first, no longer can; 0 calls it off."""
    if hasattr(signal, "alarm"):
        signal.alarm(int(seconds) + _GRACE if seconds else 0)


def answer(request: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    """Carry out one request."""
    interpreter = None
    try:
        _alarm(request["timeout"])
        interpreter = _open(request)
        if not request["resize"]:
            with _declining("refused", "prepare"):
                interpreter.allocate_tensors()
        yield ("ready",)
        yield from {"run": _run, "time": _time}[request["verb"]](interpreter, request)
    except DeclinedError as declined:
        yield declined.args[0]
    else:
        del interpreter
        gc.collect(0)
        yield ("done",)
    finally:
        _alarm(0)


def _limit(memory: int) -> None:
    """Bound the address space, so that a damaged model cannot take the machine's memory; and leave no core file."""
    if resource is None:
        return
    for what, limit in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_CORE, 0)):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(what, (limit, resource.getrlimit(what)[1]))


def _hello() -> tuple[str, ...]:
    try:
        import importlib.metadata  # noqa: PLC0415 - not in the parent

        import ai_edge_litert.interpreter  # noqa: PLC0415 - not in the parent
    except ImportError as error:
        return "unavailable", str(error)
    del ai_edge_litert
    return "hello", importlib.metadata.version("ai-edge-litert"), platform.machine()


def main() -> None:
    """Answer requests until stdin ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever LiteRT prints must not come between the answers
    warnings.simplefilter("ignore")
    _limit(int(sys.argv[1]))
    write_frame(answers, _hello())
    while (request := read_frame(sys.stdin.buffer)) is not None:
        for item in answer(request):
            write_frame(answers, item)


if __name__ == "__main__":
    main()

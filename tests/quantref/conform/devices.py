"""Devices as Python functions: right ones, and ones that crash, hang, refuse or chatter."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping

import numpy as np

import quantref
from qmath.types import Array


def right(model: bytes, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
    """Do as quantref does under its default profile."""
    return quantref.run(model, inputs)


def in_order(model: bytes, inputs: Mapping[str, Array]) -> list[Array]:
    """Give outputs in order, without names."""
    return list(right(model, inputs).values())


def chatters(model: bytes, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
    """Print while at work, from Python and from below."""
    print("busy")  # noqa: T201
    os.write(1, b"very busy\n")
    return right(model, inputs)


class Stateful:
    """A device that keeps its state between the invocations of a case."""

    def __init__(self, model: bytes) -> None:
        self.interpreter = quantref.Interpreter(model)
        self.interpreter.allocate_tensors()

    def __call__(self, inputs: Mapping[str, Array]) -> list[Array]:
        """Invoke once."""
        details = {detail["name"]: detail["index"] for detail in self.interpreter.get_input_details()}
        for name, array in inputs.items():
            self.interpreter.set_tensor(details[name], array)
        self.interpreter.invoke()
        return [self.interpreter.get_tensor(detail["index"]) for detail in self.interpreter.get_output_details()]


def off_by_one(model: bytes, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
    """Get the first element of every output wrong, by the lowest bit."""
    outputs = {name: array.copy() for name, array in right(model, inputs).items()}
    for array in outputs.values():
        array.flat[0] ^= 1
    return outputs


def refuses(model: bytes, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
    """Refuse everything."""
    raise NotImplementedError("not on this chip")


def accepts(model: bytes, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
    """Accept everything, even what is no model."""
    return {}


def dies_of_mul(model: bytes, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
    """Die of a segmentation fault at every MUL."""
    if quantref.load(model).subgraphs[0].operators[0].name == "MUL":
        os.kill(os.getpid(), signal.SIGSEGV)
    return right(model, inputs)


def hangs_at_mul(model: bytes, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
    """Never answer a MUL."""
    if quantref.load(model).subgraphs[0].operators[0].name == "MUL":
        time.sleep(600)
    return right(model, inputs)


def slow(model: bytes, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
    """Be right but for the first element, and take a while."""
    time.sleep(0.05)
    return off_by_one(model, inputs)


def wrong_type(model: bytes, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
    """Give int32 where the model says int8."""
    return {name: array.astype(np.int32) for name, array in right(model, inputs).items()}


#: Something that is no device.
NUMBER = 7

"""The figures of one row: accuracy, noise, size, time and bit-exactness of a model."""

from __future__ import annotations

import gzip
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

import fbs
import quantref as qr
from qmath.affine import dequantize, quantize
from qmath.types import Array, Float32Array, Int64Array
from quantref.difference import Difference
from quantref.quantizer.noise import decibels
from quantref.runtimes import LiteRT

#: Invocations whose fastest is the time of an image, after as many that do not count.
REPEAT = 30
#: LiteRT's kernels that are compared and timed.
RUNTIME = "litert-reference"


@dataclass(frozen=True)
class Labelled:
    """Real inputs, float32, samples on axis 0, and the class of each."""

    inputs: Float32Array
    classes: Int64Array


@dataclass(frozen=True)
class Figures:
    """What was measured of one model; None where it was not.

    Attributes
    ----------
    accuracy
        Share of inputs whose largest output is that of their class.
    sqnr
        Of the outputs, in decibels, against the float32 model with the same weights.
    size, gzip_size
        Bytes of the file, and of the file compressed by gzip -9.
    ours, theirs
        Seconds of one input in quantref and in LiteRT's reference kernels, the best of several.
    elements, mismatches
        Elements of integer tensors compared with LiteRT, op by op, and how many differ.
    float_elements, float_mismatches
        Elements of float tensors, and how many differ by more than 1e-5.

    """

    accuracy: float
    sqnr: float | None
    size: int
    gzip_size: int
    ours: float | None = None
    theirs: float | None = None
    elements: int = 0
    mismatches: int = 0
    float_elements: int = 0
    float_mismatches: int = 0


def predict(model: fbs.Model, inputs: Float32Array, *, batch: bool = True) -> Float32Array:
    """Run a model by quantref; inputs are quantized for it, and outputs dequantized, where it wants that."""
    graph = model.subgraphs[0]
    entry, result = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]
    codes = encode(model, inputs)
    portions = [codes] if batch else [sample[np.newaxis] for sample in codes]
    found = np.concatenate([next(iter(qr.run(model, {entry.name: portion}).values())) for portion in portions])
    return found if result.quant is None else dequantize(found, result.quant)


def encode(model: fbs.Model, inputs: Float32Array) -> Array:
    """Return inputs as the model wants them."""
    graph = model.subgraphs[0]
    quant = graph.tensors[graph.inputs[0]].quant
    return inputs if quant is None else quantize(inputs, quant)


def share_right(outputs: Float32Array, data: Labelled) -> float:
    """Return the share of inputs whose largest output is that of their class."""
    return float((outputs.argmax(axis=1) == data.classes).mean())


def measure(
    model: fbs.Model,
    reference: Float32Array | None,
    data: Labelled,
    *,
    verified: int = 10,
    timed: bool = True,
    batch: bool = True,
) -> Figures:
    """Measure a model.

    Parameters
    ----------
    model
        What to measure.
    reference
        Outputs of the float32 model with the same weights, or None if there is none.
    data
        Inputs and classes.
    verified
        How many of the inputs LiteRT runs too.
    timed
        Whether to measure times.
    batch
        Whether all inputs go through the model at once.

    """
    outputs, content = predict(model, data.inputs, batch=batch), fbs.write(model)
    sqnr = None if reference is None else _sqnr(reference, outputs)
    ours, theirs = _times(model, content, data.inputs[:1]) if timed else (None, None)
    return Figures(
        share_right(outputs, data),
        sqnr,
        len(content),
        len(gzip.compress(content, 9, mtime=0)),
        ours,
        theirs,
        *_verified(model, data.inputs[:verified]),
    )


def _sqnr(reference: Float32Array, outputs: Float32Array) -> float:
    wide = reference.astype(np.float64)
    return decibels(float(np.square(wide).sum()), float(np.square(outputs - wide).sum()))


def _times(model: fbs.Model, content: bytes, sample: Float32Array) -> tuple[float, float]:
    interpreter = qr.Interpreter(model)
    interpreter.allocate_tensors()
    codes = encode(model, sample)
    seconds = []
    for _ in range(2 * REPEAT):
        interpreter.set_tensor(model.subgraphs[0].inputs[0], codes)
        start = time.perf_counter()
        interpreter.invoke()
        seconds.append(time.perf_counter() - start)
    with LiteRT(RUNTIME) as runtime:
        theirs = runtime.time(content, [codes], repeat=REPEAT, warm_up=REPEAT)
    return min(seconds[REPEAT:]), min(theirs)


def _verified(model: fbs.Model, inputs: Float32Array) -> tuple[int, int, int, int]:
    if len(inputs) == 0:
        return 0, 0, 0, 0
    graph = model.subgraphs[0]
    codes = encode(model, inputs)
    result = qr.verify(model, RUNTIME, inputs={graph.tensors[graph.inputs[0]].name: codes})
    if result.death is not None or result.refusal:
        message = f"expected a model that both run, found {result.verdict}"
        raise ValueError(message)
    integer = [op.difference for op in result.ops if "float" not in op.types]
    rest = [op.difference for op in result.ops if "float" in op.types]
    return (*_sums(integer), *_sums(rest))


def _sums(differences: Sequence[Difference]) -> tuple[int, int]:
    return sum(found.elements for found in differences), sum(found.mismatches for found in differences)

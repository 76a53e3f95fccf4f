"""The main job on bundled data: a small network reads handwritten digits, quantized in every mode.

The float32 network is calibrated on 300 of the training images and quantized. Each model then runs over the 500 test
images in one batch. Every tensor of the first 100 images is compared with LiteRT.
"""

from __future__ import annotations

import html
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np

import fbs
from qmath.affine import dequantize, quantize
from qmath.errors import QuantrefError, RuntimeUnavailableError
from qmath.types import Array, Float32Array, Int64Array, UInt8Array
from quantref.difference import Difference
from quantref.interpreter import Interpreter, load
from quantref.npz import load_npz
from quantref.quantizer import Statistics, calibrate
from quantref.quantizer import quantize as quantize_model
from quantref.quantizer.noise import Tally, plain
from quantref.quantizer.tables import text_table
from quantref.refeeding import Refeeder
from quantref.runtimes import LiteRT

DATA = Path(__file__).resolve().parent / "data"
FLOAT_MODEL = "digits_float32.tflite"
#: Training images that the ranges of activations come from.
CALIBRATION_IMAGES = 300
#: Test images that are compared with the runtime.
VERIFIED_IMAGES = 100
RUNTIME = "litert-reference"
#: Grey levels of the images: 0 is paper, 16 is ink. The network was trained on levels divided by this.
INK = 16
_REPEAT = 2


@dataclass(frozen=True, slots=True)
class Form:
    """A form of the network: its name, and what :func:`quantref.quantize` is asked for.

    Attributes
    ----------
    name
        In tables.
    arguments
        Of :func:`quantref.quantize`.
    calibrated
        Whether it needs statistics.

    """

    name: str
    arguments: Mapping[str, Any]
    calibrated: bool = False


def _integer(name: str, mode: str, dtype: str | None = None, **others: int) -> Form:
    boundary = {} if dtype is None else {"input_type": dtype, "output_type": dtype}
    return Form(name, {"mode": mode, **boundary, **others}, calibrated=True)


#: A uint8 model of the old kind has no calibration: its maker says what the input's codes mean (0 to 255 for 0 to 1),
#: and one range for all activations.
_LEGACY = {"mode": "uint8", "input_type": "uint8", "output_type": "uint8"}
#: The reference first; then each mode.
FORMS = (
    Form("float32", {"mode": "float32"}),
    Form("float16", {"mode": "float16"}),
    Form("dynamic", {"mode": "dynamic"}),
    Form("dynamic, int4 weights", {"mode": "int4"}),
    Form("weight-only", {"mode": "weight-only"}),
    _integer("int8, float io", "int8"),
    _integer("int8", "int8", "int8"),
    _integer("int8, uint8 io", "int8", "uint8"),
    _integer("int8, int4 weights", "int8", "int8", weight_bits=4),
    _integer("16x8, float io", "16x8"),
    _integer("16x8", "16x8", "int16"),
    _integer("16x8, int32 biases", "16x8", "int16", bias_bits=32),
    Form("uint8 (legacy)", {**_LEGACY, "input_stats": (0.0, 255.0), "default_ranges": (-8.0, 8.0)}),
)


@dataclass(frozen=True, slots=True)
class ModelReport:
    """One form of the network on the test images.

    Attributes
    ----------
    name
        Of the form.
    size
        Of its file, in bytes.
    predictions
        The digit that it reads in each image, int64, shape ``(images,)``.
    confidence
        The probability that it gives to that digit, float32, shape ``(images,)``.
    correct
        How many of them are right.
    sqnr, scores_sqnr
        Signal to quantization noise ratio against the float32 model in decibels, of the probabilities, and of the
        scores that the SOFTMAX makes these of.
    seconds
        Time of the whole batch, the better of two runs.
    compared
        What comparing with the runtime found, all tensors together; None if there is no runtime.
    failure
        Why the runtime gave nothing to compare, or empty.

    """

    name: str
    size: int
    predictions: Int64Array
    confidence: Float32Array
    correct: int
    sqnr: float
    scores_sqnr: float
    seconds: float
    compared: Difference | None = None
    failure: str = ""

    @property
    def images(self) -> int:
        """Number of test images."""
        return self.predictions.size

    @property
    def equal(self) -> bool:
        """Whether nothing differs from the runtime, as far as it was asked."""
        return not self.failure and (self.compared is None or self.compared.mismatches == 0)

    @property
    def verdict(self) -> str:
        """How it compares with the runtime, in a few words."""
        if self.failure or self.compared is None:
            return self.failure or "not compared"
        found = self.compared
        exact = "" if found.relative is None else ", floats to 1e-5"
        return f"{found.mismatches:,} / {found.elements:,}{exact}"

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "name": self.name,
            "size": self.size,
            "images": self.images,
            "correct": self.correct,
            "accuracy": self.correct / self.images,
            "sqnr": plain(self.sqnr),
            "scores_sqnr": plain(self.scores_sqnr),
            "seconds_per_image": self.seconds / self.images,
            "equal": self.equal,
            "compared": None if self.compared is None else self.compared.to_json(),
            "failure": self.failure,
        }


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the demo found.

    Attributes
    ----------
    images, labels
        The test images, uint8, shape ``(images, 8, 8)``, 0 to 16; and the digits they show.
    models
        A report for each of :data:`FORMS`.
    runtime
        Version of the runtime, or empty.
    unavailable
        Why there is no comparison with the runtime, or empty.

    """

    images: UInt8Array
    labels: UInt8Array
    models: tuple[ModelReport, ...]
    runtime: str = ""
    unavailable: str = ""

    @property
    def equal(self) -> bool:
        """Whether no comparison found a difference; also if there was none to make."""
        return all(model.equal for model in self.models)

    def model(self, name: str) -> ModelReport:
        """Return the report of a form."""
        return next(model for model in self.models if model.name == name)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "equal": self.equal,
            "runtime": self.runtime,
            "unavailable": self.unavailable,
            "models": [model.to_json() for model in self.models],
        }

    def rows(self) -> tuple[list[str], list[list[str]]]:
        """Return the headings and the cells of the table."""
        base = self.models[0]
        return ["model", "bytes", "ratio", "digits read", "accuracy", "SQNR", "scores", "an image", "differ"], [
            [
                model.name,
                f"{model.size:,}",
                f"{base.size / model.size:.2f}",
                f"{model.correct} of {model.images}",
                f"{100 * model.correct / model.images:.1f} %",
                _decibels(model.sqnr),
                _decibels(model.scores_sqnr),
                f"{1e3 * model.seconds / model.images:.2f} ms",
                model.verdict,
            ]
            for model in self.models
        ]

    @property
    def outcome(self) -> str:
        """How the models compare with the runtime, in a line."""
        if self.unavailable:
            return self.unavailable
        elements = sum(model.compared.elements for model in self.models if model.compared is not None)
        differing = [model.name for model in self.models if not model.equal]
        against = f"{self.runtime} ({RUNTIME}), every tensor of {VERIFIED_IMAGES} images: {elements:,} elements"
        return f"against {against}, " + (f"differences in {', '.join(differing)}" if differing else "no difference")

    def summary(self) -> str:
        """Return the table and the outcome as text."""
        return "\n".join([text_table(*self.rows()), self.outcome])

    def _repr_html_(self) -> str:
        """Return the summary for notebooks."""
        return f"<pre>{html.escape(self.summary())}</pre>"


def demo(progress: Callable[[int, int], None] | None = None) -> DemoResult:
    """Run the demo.

    Parameters
    ----------
    progress
        Called with the number of models done and of all.

    """
    digits = load_npz(DATA / "digits.npz")
    images, labels = digits["test_images"], digits["test_labels"]
    models = digits_models(digits["train_images"][:CALIBRATION_IMAGES])
    results = _Results(images, labels)
    with ExitStack() as stack:
        unavailable, runtime = "", None
        try:
            runtime = stack.enter_context(LiteRT(RUNTIME))
            version = runtime.version
        except RuntimeUnavailableError as error:
            unavailable, runtime, version = f"not compared with the runtime: {error}", None, ""
        for done, (name, model) in enumerate(models.items(), start=1):
            results.add(name, model, runtime)
            if progress is not None:
                progress(done, len(models))
    return DemoResult(images, labels, tuple(results.reports), version, unavailable)


def digits_models(images: UInt8Array) -> dict[str, fbs.Model]:
    """Quantize the network in every form.

    Parameters
    ----------
    images
        To calibrate on, shape ``(images, 8, 8)``, 0 to 16.

    """
    network = load(DATA / FLOAT_MODEL)
    known = calibrate(network, {_input(network).name: encode(images, network)})
    return {form.name: digits_model(network, form, known) for form in FORMS}


def digits_model(network: fbs.Model, form: Form, known: Statistics) -> fbs.Model:
    """Quantize the network in a form."""
    return quantize_model(network, **form.arguments, statistics=known if form.calibrated else None)


def encode(images: UInt8Array, model: fbs.Model) -> Array:
    """Turn grey levels, shape ``(images, 8, 8)``, into a model's input, shape ``(images, 8, 8, 1)``."""
    real = (images[..., np.newaxis] / INK).astype(np.float32)
    params = _input(model).quant
    return real if params is None else quantize(real, params)


@dataclass
class _Results:
    """The reports so far; the first is the float model's, which the others are measured against."""

    images: UInt8Array
    labels: UInt8Array
    reports: list[ModelReport] = field(default_factory=list)
    reference: tuple[Float32Array, Float32Array] | None = None

    def add(self, name: str, model: fbs.Model, runtime: LiteRT | None) -> None:
        """Run a model over the images, and compare it with the runtime."""
        inputs = encode(self.images, model)
        probabilities, scores, seconds = _run_batch(model, inputs)
        self.reference = self.reference or (probabilities, scores)
        predictions = np.argmax(probabilities, axis=1)
        compared, failure = None, ""
        if runtime is not None:
            try:
                compared = _compare(model, inputs[:VERIFIED_IMAGES], runtime)
            except QuantrefError as error:
                failure = str(error)
        report = ModelReport(
            name=name,
            size=len(fbs.write(model)),
            predictions=predictions,
            confidence=probabilities.max(axis=1),
            correct=int(np.count_nonzero(predictions == self.labels)),
            sqnr=_sqnr(self.reference[0], probabilities),
            scores_sqnr=_sqnr(self.reference[1], scores),
            seconds=seconds,
            compared=compared,
            failure=failure,
        )
        self.reports.append(report)


def _input(model: fbs.Model) -> fbs.Tensor:
    graph = model.subgraphs[0]
    return graph.tensors[graph.inputs[0]]


def _run_batch(model: fbs.Model, inputs: Array) -> tuple[Float32Array, Float32Array, float]:
    """Run all images at once; return probabilities, the scores behind them, and the seconds of the better run."""
    interpreter = _resized(model, inputs)
    seconds = []
    for _ in range(_REPEAT):
        start = time.perf_counter()
        interpreter.invoke()
        seconds.append(time.perf_counter() - start)
    graph = model.subgraphs[0]
    softmax = next(operator for operator in graph.operators if operator.name == "SOFTMAX")
    probabilities, scores = (_real(interpreter, index) for index in (graph.outputs[0], softmax.inputs[0]))
    return probabilities, scores, min(seconds)


def _resized(model: fbs.Model, inputs: Array) -> Interpreter:
    """Return an interpreter that has a batch of inputs."""
    interpreter, index = Interpreter(model), model.subgraphs[0].inputs[0]
    interpreter.resize_tensor_input(index, inputs.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(index, inputs)
    return interpreter


def _real(interpreter: Interpreter, index: int) -> Float32Array:
    """Return the real values that a tensor stands for."""
    value, params = interpreter.get_tensor(index), interpreter.graph.subgraph.tensors[index].quant
    return value if params is None else dequantize(value, params)


def _compare(model: fbs.Model, inputs: Array, runtime: LiteRT) -> Difference:
    """Compare every tensor of a batch with the runtime's, each op fed with what the runtime fed it with."""
    interpreter = _resized(model, inputs)
    interpreter.invoke()
    refeeder = Refeeder(interpreter)
    outputs = [interpreter.get_tensor(index) for index in model.subgraphs[0].outputs]
    (answer,) = runtime.stream(fbs.write(model), [[inputs]], tensors=refeeder.tensors, resize=True)
    found = refeeder.compare(answer, outputs, 0)
    return reduce(add, (*found.ops, *found.outputs))


def _sqnr(reference: Float32Array, found: Float32Array) -> float:
    tally = Tally()
    tally.add(reference, found)
    return tally.error().sqnr


def _decibels(ratio: float) -> str:
    return "exact" if np.isinf(ratio) else f"{ratio:.1f} dB"

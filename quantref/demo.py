"""The main job on bundled data: a small network reads handwritten digits, as float32 and as int8.

Both models run over the 500 test images in one batch, and are then compared with LiteRT on every tensor.
"""

from __future__ import annotations

import html
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import fbs
from qmath.affine import dequantize, quantize
from qmath.errors import RuntimeUnavailableError
from qmath.types import Array, Float32Array, Int64Array, UInt8Array
from quantref.interpreter import Interpreter, load
from quantref.npz import load_npz
from quantref.verification import VerifyResult
from quantref.verify import verify

DATA = Path(__file__).resolve().parent / "data"
#: The models to run, by the name that people know their arithmetic by.
MODELS = {"float32": "digits_float32.tflite", "int8": "digits_int8.tflite"}
#: Test images that are compared with the runtime.
VERIFIED_IMAGES = 100
#: Grey levels of the images: 0 is paper, 16 is ink. The network was trained on levels divided by this.
INK = 16
_REPEAT = 3


@dataclass(frozen=True, slots=True)
class ModelReport:
    """One model on the test images.

    Attributes
    ----------
    arithmetic
        ``"float32"`` or ``"int8"``.
    file, size
        The model and its size in bytes.
    predictions
        The digit that it reads in each image, int64, shape ``(images,)``.
    confidence
        The probability that it gives to that digit, float32, shape ``(images,)``.
    correct
        How many of them are right.
    seconds
        Time of the whole batch, the best of three runs.
    verification
        The comparison with the runtime, or None if there is no runtime.

    """

    arithmetic: str
    file: str
    size: int
    predictions: Int64Array
    confidence: Float32Array
    correct: int
    seconds: float
    verification: VerifyResult | None

    @property
    def images(self) -> int:
        """Number of test images."""
        return self.predictions.size

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "arithmetic": self.arithmetic,
            "file": self.file,
            "size": self.size,
            "images": self.images,
            "correct": self.correct,
            "accuracy": self.correct / self.images,
            "seconds_per_image": self.seconds / self.images,
            "verification": None if self.verification is None else self.verification.to_json(),
        }


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the demo found.

    Attributes
    ----------
    images, labels
        The test images, uint8, shape ``(images, 8, 8)``, 0 to 16; and the digits they show.
    models
        A report for each model.
    unavailable
        Why there is no comparison with the runtime, or empty.

    """

    images: UInt8Array
    labels: UInt8Array
    models: tuple[ModelReport, ...]
    unavailable: str = ""

    @property
    def equal(self) -> bool:
        """Whether no comparison found a difference; also if there was none to make."""
        return all(model.verification is None or model.verification.equal for model in self.models)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "equal": self.equal,
            "unavailable": self.unavailable,
            "models": [model.to_json() for model in self.models],
        }

    def summary(self) -> str:
        """Return the outcome as a few lines of text."""
        lines = []
        for model in self.models:
            share = 100 * model.correct / model.images
            microseconds = 1e6 * model.seconds / model.images
            lines.append(
                f"{model.arithmetic}: {model.correct} of {model.images} digits read ({share:.1f} %), "
                f"{model.size:,} bytes, {microseconds:.0f} us an image"
            )
        lines += [verdict(model) for model in self.models if model.verification is not None]
        return "\n".join([*lines, self.unavailable] if self.unavailable else lines)

    def _repr_html_(self) -> str:
        """Return the summary for notebooks."""
        return "<p>" + "<br>".join(html.escape(line) for line in self.summary().splitlines()) + "</p>"


def verdict(model: ModelReport) -> str:
    """Say in a line how a model compares with the runtime."""
    result = model.verification
    if result is None:
        return f"{model.arithmetic}: not compared"
    total = result.total + result.end_to_end
    against = f"{result.runtime_version} on {result.samples} images, {len(result.ops)} ops"
    if not result.equal:
        return f"{model.arithmetic}: {result.verdict}: {total.mismatches:,} of {total.elements:,} elements, {against}"
    how = "bit-exact" if total.relative is None else f"within {total.relative:.0e}"
    return f"{model.arithmetic}: {how} in all {total.elements:,} elements, against {against}"


def demo(progress: Callable[[int, int], None] | None = None) -> DemoResult:
    """Run the demo.

    Parameters
    ----------
    progress
        Called with the number of verified samples and of all.

    """
    digits = load_npz(DATA / "digits.npz")
    images, labels = digits["test_images"], digits["test_labels"]
    reports, unavailable = [], ""
    for done, (arithmetic, file) in enumerate(MODELS.items()):
        model = load(DATA / file)
        inputs = encode(images, model)
        probabilities, seconds = _run_batch(model, inputs)
        predictions = np.argmax(probabilities, axis=1)
        try:
            checked = inputs[:VERIFIED_IMAGES]
            verification = _verified(model, checked, done, progress)
        except RuntimeUnavailableError as error:
            verification, unavailable = None, f"not compared with the runtime: {error}"
        report = ModelReport(
            arithmetic=arithmetic,
            file=file,
            size=(DATA / file).stat().st_size,
            predictions=predictions,
            confidence=probabilities.max(axis=1),
            correct=int(np.count_nonzero(predictions == labels)),
            seconds=seconds,
            verification=verification,
        )
        reports.append(report)
    return DemoResult(images, labels, tuple(reports), unavailable)


def encode(images: UInt8Array, model: fbs.Model) -> Array:
    """Turn grey levels, shape ``(images, 8, 8)``, into a model's input, shape ``(images, 8, 8, 1)``."""
    real = (images[..., np.newaxis] / INK).astype(np.float32)
    params = _input(model).quant
    return real if params is None else quantize(real, params)


def _input(model: fbs.Model) -> fbs.Tensor:
    graph = model.subgraphs[0]
    return graph.tensors[graph.inputs[0]]


def _run_batch(model: fbs.Model, inputs: Array) -> tuple[Float32Array, float]:
    """Run all images at once; return the probabilities of the ten digits and the seconds of the best run."""
    graph = model.subgraphs[0]
    interpreter = Interpreter(model)
    interpreter.resize_tensor_input(graph.inputs[0], inputs.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(graph.inputs[0], inputs)
    seconds = []
    for _ in range(_REPEAT):
        start = time.perf_counter()
        interpreter.invoke()
        seconds.append(time.perf_counter() - start)
    outputs = interpreter.get_tensor(graph.outputs[0])
    params = graph.tensors[graph.outputs[0]].quant
    return outputs if params is None else dequantize(outputs, params), min(seconds)


def _verified(model: fbs.Model, inputs: Array, done: int, progress: Callable[[int, int], None] | None) -> VerifyResult:
    def report(samples: int, of: int) -> None:
        if progress is not None:
            progress(done * of + samples, len(MODELS) * of)

    return verify(model, inputs={_input(model).name: inputs}, progress=report)

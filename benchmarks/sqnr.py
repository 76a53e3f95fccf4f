"""``python -m benchmarks.sqnr``: style quantref against style tflite, in decibels against the float model.

A model is quantized in both styles, each with its own calibration on the same samples, and run on others. Seeds draw
the samples anew: real ones are split otherwise, synthetic ones are others. A gain is that of quantref over tflite, in
decibels of signal to quantization noise, as ``mean ± standard deviation (least)`` over the seeds, at three places:

- the output of the model. Where that is a SOFTMAX of all but certain answers, a few samples decide it;
- the last op before the SOFTMAX or LOGISTIC that a model may end with;
- the mean over all ops, each measured at its output.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import click
import numpy as np

import fbs
from benchmarks.tables import markdown
from qmath.affine import dequantize
from qmath.calibration import observer_named
from qmath.errors import InputError, QuantrefError
from qmath.types import Array, Float64Array
from quantref.interpreter import Interpreter
from quantref.quantizer import QuantrefStyle, TFLiteStyle, calibrate, quantize
from quantref.quantizer.noise import Tally
from quantref.quantizer.pairing import pair_ops

ROOT = Path(__file__).resolve().parent.parent
SHARED, DATA = ROOT.parent / "shared" / "models", ROOT / "quantref" / "data"
#: Ratios are taken to be no better than this, so that exact ops do not outweigh all others.
BEST = 100.0
#: Samples that are run at a time.
BATCH = 16
_PROBABILITIES = frozenset({"SOFTMAX", "LOGISTIC"})

Sample = list[Array]


@dataclass(frozen=True, slots=True)
class Subject:
    """A float model, and where its samples come from.

    Attributes
    ----------
    path
        The model.
    calibrated, evaluated
        How many samples its ranges come from, and on how many others it is measured.
    bounds
        Of synthetic samples.
    real
        Whether there are real samples: the digits, and windows of the anomaly detector.

    """

    path: Path
    calibrated: int
    evaluated: int
    bounds: tuple[float, float] = (0, 1)
    real: bool = False

    @property
    def name(self) -> str:
        """The file's name without what all have in common."""
        return self.path.stem.removesuffix("_float32")


SUBJECTS = (
    Subject(SHARED / "tflm" / "hello_world_float32.tflite", 100, 200, (0, 2 * np.pi)),
    Subject(SHARED / "mlperf-tiny" / "ad01_float32.tflite", 20, 20, real=True),
    Subject(SHARED / "mlperf-tiny" / "vww96_float32.tflite", 48, 96),
    Subject(SHARED / "mlperf-tiny" / "resnet8_float32.tflite", 48, 128, (0, 255)),
    Subject(SHARED / "mobilenet_v2" / "mobilenet_v2_224_float32.tflite", 8, 8, (-1, 1)),
    Subject(DATA / "digits_float32.tflite", 200, 800, real=True),
)
#: What is compared with style tflite: a heading, and the style.
STYLES = {"without bias correction": QuantrefStyle(corrects_bias=False), "quantref": QuantrefStyle()}
#: Where: headings of what :meth:`Running.ratios` gives.
PLACES = ("output", "before softmax", "mean over ops")


def samples(subject: Subject, model: fbs.Model, seed: int) -> list[Sample]:
    """Return samples to calibrate on and samples to measure on, one behind the other."""
    rng, count = np.random.default_rng(seed), subject.calibrated + subject.evaluated
    shapes = [model.subgraphs[0].tensors[index].shape for index in model.subgraphs[0].inputs]
    if not subject.real:
        return [[_synthetic(rng, shape, subject.bounds) for shape in shapes] for _ in range(count)]
    if subject.name == "digits":
        with np.load(DATA / "digits.npz") as arrays:
            known = np.float32(np.concatenate([arrays["train_images"], arrays["test_images"]]) / 16)
    else:
        known = np.fromfile(subject.path.parent / "ad01_sample_float32.bin", np.float32).reshape(-1, 640)
    if count > len(known):
        raise InputError(f"{subject.name}: expected {count} samples, found {len(known)}")
    return [[array.reshape(1, *shapes[0][1:])] for array in known[rng.permutation(len(known))[:count]]]


def _synthetic(rng: np.random.Generator, shape: tuple[int, ...], bounds: tuple[float, float]) -> Array:
    """Return uniform numbers; if there is height and width, noise with the spectrum of pictures, 1/frequency."""
    low, high = bounds
    if len(shape) < 4:
        return rng.uniform(low, high, shape).astype(np.float32)
    squared = np.add.outer(np.square(np.fft.fftfreq(shape[1])), np.square(np.fft.fftfreq(shape[2])))
    squared[0, 0] = 1
    noise = 0.7 * rng.normal(size=(*shape[:3], 1)) + 0.5 * rng.normal(size=shape)
    spectrum = np.fft.fft2(noise, axes=(1, 2)) / np.sqrt(squared)[None, :, :, None]
    picture = np.fft.ifft2(spectrum, axes=(1, 2)).real
    brightness, contrast = rng.uniform(0.35, 0.65), rng.uniform(0.1, 0.3)
    unit = np.clip(brightness + contrast * picture / picture.std(), 0, 1)
    return np.asarray(low + unit * (high - low), np.float32)


class Running:
    """A model that runs batches; its ops' outputs are measured against those of the float model.

    Parameters
    ----------
    model
        The quantized model, or the float model itself.
    reference
        The float model.

    """

    def __init__(self, model: fbs.Model, reference: fbs.Model) -> None:
        self._interpreter = Interpreter(model)
        self._graph = model.subgraphs[0]
        ours, pairs = reference.subgraphs[0], pair_ops(reference.subgraphs[0], self._graph)
        self.ops = [ours.operators[pair.float_op].name for pair in pairs]
        self._float = [ours.operators[pair.float_op].outputs[0] for pair in pairs]
        self._own = [self._graph.operators[pair.quantized_op].outputs[0] for pair in pairs]
        self._tallies = [Tally() for _ in pairs]

    def run(self, batch: Sample) -> None:
        """Run a batch of samples."""
        for index, array in zip(self._graph.inputs, batch, strict=True):
            self._interpreter.resize_tensor_input(index, array.shape)
        self._interpreter.allocate_tensors()
        self._interpreter.graph.run(batch)

    def measure(self, reference: Running) -> None:
        """Add the differences from what the float model gave for the same batch."""
        for tally, ours, own in zip(self._tallies, self._float, self._own, strict=True):
            tally.add(reference.real(ours), self.real(own))

    def real(self, index: int) -> Array:
        """Return the real values that a tensor stands for."""
        value, params = self._interpreter.graph.value(index), self._graph.tensors[index].quant
        return value if params is None else dequantize(value, params)

    def ratios(self) -> Float64Array:
        """Return the ratios in decibels at :data:`PLACES`."""
        found = [min(tally.error().sqnr, BEST) for tally in self._tallies]
        last = -2 if len(found) > 1 and self.ops[-1] in _PROBABILITIES else -1
        return np.array([found[-1], found[last], np.mean(found)])


@dataclass(frozen=True, slots=True)
class Gains:
    """What a style gains over style tflite.

    Attributes
    ----------
    model, mode, style
        Of what; the style is a key of :data:`STYLES`.
    tflite
        Ratios of style tflite, shape ``(seeds, places)``.
    gains
        Decibels beyond, shape ``(seeds, places)``.

    """

    model: str
    mode: str
    style: str
    tflite: Float64Array
    gains: Float64Array


def measure(subject: Subject, mode: str, seeds: int, observer: str) -> Iterator[Gains]:
    """Measure each of :data:`STYLES` over as many seeds."""
    model = fbs.read(subject.path)
    found: list[list[Float64Array]] = [[] for _ in ("tflite", *STYLES)]
    for seed in range(seeds):
        drawn = samples(subject, model, seed)
        known, others = drawn[: subject.calibrated], drawn[subject.calibrated :]
        theirs = calibrate(model, known, style="tflite")
        ours = calibrate(model, known, observer=observer_named(observer))
        quantized = [quantize(model, mode=mode, style=TFLiteStyle(faults=True), statistics=theirs)]
        quantized += [quantize(model, mode=mode, style=style, statistics=ours) for style in STYLES.values()]
        reference, running = Running(model, model), [Running(one, model) for one in quantized]
        for batch in _batches(others):
            reference.run(batch)
            for one in running:
                one.run(batch)
                one.measure(reference)
        for ratios, one in zip(found, running, strict=True):
            ratios.append(one.ratios())
    base, *styles = map(np.array, found)
    for name, reached in zip(STYLES, styles, strict=True):
        yield Gains(subject.name, mode, name, base, reached - base)


def _batches(drawn: Sequence[Sample]) -> Iterator[Sample]:
    for start in range(0, len(drawn), BATCH):
        yield [np.concatenate(column) for column in zip(*drawn[start : start + BATCH], strict=True)]


def spread(values: Float64Array) -> str:
    """Return ``mean ± standard deviation (least)``."""
    return f"{values.mean():+.2f} ± {values.std():.2f} ({values.min():+.2f})"


def table(results: Sequence[Gains]) -> str:
    """Return the gains as a table."""
    headings = ["model", "mode", "style", "tflite: output", "before softmax", *(f"gain: {name}" for name in PLACES)]
    rows = [
        [found.model, found.mode, found.style]
        + [f"{value:.1f}" for value in found.tflite.mean(axis=0)[:2]]
        + [spread(found.gains[:, place]) for place in range(len(PLACES))]
        for found in results
    ]
    return markdown(headings, rows, left=3)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--models", default="*", metavar="PATTERN", help="Names of models, such as 'resnet*'.")
@click.option("--mode", "modes", multiple=True, default=("int8", "16x8"), show_default=True)
@click.option("--seeds", type=click.IntRange(min=1), default=5, show_default=True, help="How often samples are drawn.")
@click.option("--observer", default="min-max", show_default=True, help="Of style quantref's calibration.")
@click.option("--json", "as_json", is_flag=True, help="Print every ratio as JSON.")
def main(models: str, modes: Sequence[str], seeds: int, observer: str, *, as_json: bool) -> None:
    """Compare the default style with TFLiteConverter's on samples that neither was calibrated on."""
    chosen = [found for found in SUBJECTS if fnmatch(found.name, models) and found.path.exists()]
    if not chosen:
        raise InputError(f"expected a model among {', '.join(found.name for found in SUBJECTS)}, found {models!r}")
    results = [gains for found in chosen for mode in modes for gains in measure(found, mode, seeds, observer)]
    if as_json:
        rows = [
            {
                "model": found.model,
                "mode": found.mode,
                "style": found.style,
                "tflite": found.tflite.tolist(),
                "gains": found.gains.tolist(),
            }
            for found in results
        ]
        click.echo(json.dumps({"places": PLACES, "seeds": seeds, "observer": observer, "results": rows}, indent=2))
    else:
        click.echo(table(results))


if __name__ == "__main__":
    try:
        main.main(prog_name="python -m benchmarks.sqnr")
    except QuantrefError as error:
        click.echo(f"python -m benchmarks.sqnr: {error}", err=True)
        sys.exit(2)

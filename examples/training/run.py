"""Train a small network, quantize it after training, train it to be quantized, and print what each costs.

    python examples/training/run.py                      # five seeds
    python examples/training/run.py --seeds 1 --epochs 2 --tuning-epochs 1
    python examples/training/run.py --learned-ranges --save FOLDER

Every share is that of a ``.tflite`` file that quantref ran: the quantized ones in integers, as LiteRT would.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that it runs from anywhere

import numpy as np

import fbs
import quantref as qr
from examples.training.export import export, measure, quantize_model
from examples.training.fake_quantization import make_quantization_aware
from examples.training.fold import fold
from examples.training.network import SLIM, Network
from examples.training.training import Images, Schedule, fit, load_images

#: Training images whose activations give the ranges of post-training quantization.
CALIBRATION = 200
WEIGHT_BITS = (8, 4)
TRAINING, TUNING = Schedule(epochs=40, rate=4e-3), Schedule(epochs=10, rate=4e-3)


@dataclass(frozen=True)
class Settings:
    """How long to train, before and after quantization begins to count."""

    training: Schedule
    tuning: Schedule
    learned_ranges: bool = False


def train_float(seed: int, settings: Settings, images: Images) -> Network:
    """Train the network in float32 and fold its batch normalization."""
    rng = np.random.default_rng(seed)
    network = SLIM.build(rng)
    fit(network, images, settings.training, rng)
    return fold(network)


def tune(network: Network, seed: int, settings: Settings, images: Images) -> Network:
    """Train a folded network on, in place; every network of one seed sees the same batches."""
    fit(network, images, settings.tuning, np.random.default_rng(seed + 1000))
    return network


def models_of(seed: int, settings: Settings, images: Images) -> Iterator[tuple[str, fbs.Model]]:
    """Yield every model of one seed, under the name of its row."""
    calibration = Images(images.pixels[:CALIBRATION], images.digits[:CALIBRATION])
    folded = train_float(seed, settings, images)
    # What awareness wins is not to be what more training would win: the float network is trained on just as long.
    float_model = export(tune(copy.deepcopy(folded), seed, settings, images))
    yield "float32", float_model
    for bits in WEIGHT_BITS:
        yield f"int{bits} weights, after training", quantize_model(float_model, calibration, bits)
    for bits in WEIGHT_BITS:
        aware = make_quantization_aware(folded, calibration.pixels, bits, learned_ranges=settings.learned_ranges)
        tune(aware, seed, settings, images)
        yield f"int{bits} weights, aware", quantize_model(export(aware), calibration, bits)


def run(seeds: Sequence[int], settings: Settings, save: Path | None = None) -> dict[str, list[float]]:
    """Return the test accuracy of every model, a list over the seeds for each row."""
    training, test = load_images("train"), load_images("test")
    found: dict[str, list[float]] = {}
    for seed in seeds:
        for row, model in models_of(seed, settings, training):
            found.setdefault(row, []).append(measure(model, test))
            if save is not None:
                save.mkdir(parents=True, exist_ok=True)
                qr.save(model, save / f"{row.replace(', ', '_').replace(' ', '_')}_{seed}.tflite")
        done = ", ".join(f"{row} {100 * shares[-1]:.1f} %" for row, shares in found.items())
        print(f"seed {seed}: {done}", flush=True)
    return found


def table(found: Mapping[str, Sequence[float]]) -> str:
    """Return the mean, the spread and the extremes of every row, and what training to be quantized wins back."""
    lines = [f"{'model':30} {'mean':>7} {'spread':>7} {'worst':>7} {'best':>7}"]
    for row, shares in found.items():
        percent = 100 * np.array(shares)
        figures = (percent.mean(), _spread(percent), percent.min(), percent.max())
        lines.append(f"{row:30} " + " ".join(f"{figure:6.1f}%" for figure in figures))
    for bits in WEIGHT_BITS:
        won = 100 * (np.array(found[f"int{bits} weights, aware"]) - found[f"int{bits} weights, after training"])
        lines.append(f"int{bits}: awareness wins {won.mean():+.1f} points, spread {_spread(won):.1f}")
    return "\n".join(lines)


def _spread(values: np.ndarray) -> float:
    """Return the standard deviation over seeds, 0 for a single one."""
    return float(values.std(ddof=1)) if len(values) > 1 else 0.0


def main() -> None:
    """Train for every seed, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="how many (default: 5)")
    parser.add_argument("--epochs", type=int, default=TRAINING.epochs, help="of float training")
    parser.add_argument("--tuning-epochs", type=int, default=TUNING.epochs, help="of quantization-aware training")
    parser.add_argument("--learned-ranges", action="store_true", help="learn the ranges of activations by gradient")
    parser.add_argument("--save", type=Path, metavar="FOLDER", help="where to keep the models")
    arguments = parser.parse_args()
    settings = Settings(
        Schedule(arguments.epochs, TRAINING.rate),
        Schedule(arguments.tuning_epochs, TUNING.rate),
        learned_ranges=arguments.learned_ranges,
    )
    start = time.process_time()
    print(table(run(range(arguments.seeds), settings, arguments.save)))
    print(f"{time.process_time() - start:.0f} s of processor time")


if __name__ == "__main__":
    main()

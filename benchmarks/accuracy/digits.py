"""The digits network in every form, for one seed: trained, quantized, trained to be quantized, pruned, clustered.

Whatever is trained on a second time (to be quantized, pruned or clustered) starts from the same float network and sees
the same batches; the float network of the other rows is trained on just as long.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

import fbs
import quantref as qr
from benchmarks.accuracy.sharing import Cluster, Prune
from examples.training.export import export, samples
from examples.training.fake_quantization import FakeQuant, make_quantization_aware
from examples.training.fold import fold
from examples.training.network import ROOMY, SLIM, Architecture, Network
from examples.training.training import AfterStep, Images, Schedule, fit
from quantref.quantizer import TFLiteStyle

CALIBRATION = 200
CLUSTERS = 16
INT8 = {"input_type": "int8", "output_type": "int8"}
#: One scale for the weights of a dense layer: weights that share a value then share a code.
SHARED_SCALE = TFLiteStyle(per_channel_dense=False)


@dataclass(frozen=True)
class Plan:
    """Which network, and how it is trained.

    Attributes
    ----------
    name
        Heading of its table.
    architecture
        Of the network.
    training, tuning
        In float32, and then once more in each form.
    shrinks
        Whether it is pruned and clustered too: only where weights are most of the file.

    """

    name: str
    architecture: Architecture
    training: Schedule
    tuning: Schedule
    shrinks: bool


PLANS = (
    Plan(
        "digits",
        ROOMY,
        Schedule(epochs=12, rate=4e-3, batch=64, decay=2.5),
        Schedule(epochs=8, rate=2e-3, batch=64, decay=2.5),
        shrinks=True,
    ),
    Plan("digits, slim", SLIM, Schedule(epochs=40, rate=4e-3), Schedule(epochs=10, rate=4e-3), shrinks=False),
)


@dataclass(frozen=True)
class Variant:
    """A row of the table: its name, the model, and the float32 model with the same weights."""

    name: str
    model: fbs.Model
    reference: fbs.Model


def variants(plan: Plan, seed: int, images: Images) -> Iterator[Variant]:
    """Yield every form of the network of one seed."""
    rng = np.random.default_rng(seed)
    network = plan.architecture.build(rng)
    fit(network, images, plan.training, rng)
    folded = fold(network)
    few = Images(images.pixels[:CALIBRATION], images.digits[:CALIBRATION])

    def tuned(network: Network, after_step: AfterStep | None = None) -> Network:
        fit(network, images, plan.tuning, np.random.default_rng(seed + 1000), after_step)
        return network

    yield from _after_training(tuned(copy.deepcopy(folded)), few)
    for bits in (8, 4):
        aware = tuned(make_quantization_aware(folded, few.pixels, bits))
        model = qr.quantize(export(aware), mode="int8", weight_bits=bits, **INT8)
        yield Variant(f"int{bits}{' weights' if bits == 4 else ''}, quantization-aware", model, export(_without(aware)))
    if plan.shrinks:
        yield from _sparse_and_shared(folded, tuned, few)


def _after_training(network: Network, few: Images) -> Iterator[Variant]:
    model, data = export(network), list(samples(few))
    found = qr.calibrate(model, data)
    with_ranges = export(make_quantization_aware(network, few.pixels, weight_bits=8))
    rows = {
        "float32": model,
        "float16": qr.quantize(model, mode="float16"),
        "dynamic range": qr.quantize(model, mode="dynamic"),
        "int8, style tflite": qr.quantize(model, mode="int8", style="tflite", representative_dataset=data, **INT8),
        "int8, style quantref": qr.quantize(model, mode="int8", statistics=found, **INT8),
        "uint8, legacy": qr.quantize(with_ranges, mode="uint8", input_type="uint8", output_type="uint8"),
        "16x8": qr.quantize(model, mode="16x8", statistics=found, input_type="int16", output_type="int16"),
        "int4 weights": qr.quantize(model, mode="int8", statistics=found, weight_bits=4, **INT8),
    }
    for name, quantized in rows.items():
        yield Variant(name, quantized, model)


def _sparse_and_shared(
    folded: Network, tuned: Callable[[Network, AfterStep], Network], few: Images
) -> Iterator[Variant]:
    for percent in (50, 80):
        pruned = copy.deepcopy(folded)
        tuned(pruned, Prune(pruned, percent / 100))
        yield _int8(f"pruned {percent} %, int8", pruned, few)
    clustered = copy.deepcopy(folded)
    tuned(clustered, Cluster(clustered, CLUSTERS))
    yield _int8(f"{CLUSTERS} clusters, int8", clustered, few, shared_scale=True)
    both = copy.deepcopy(pruned)  # the one pruned to 80 %
    tuned(both, Cluster(both, CLUSTERS, keep_zeros=True))
    yield _int8(f"pruned 80 % and {CLUSTERS} clusters, int8", both, few, shared_scale=True)


def _int8(name: str, network: Network, few: Images, *, shared_scale: bool = False) -> Variant:
    model, data = export(network), list(samples(few))
    style = SHARED_SCALE if shared_scale else "quantref"
    return Variant(name, qr.quantize(model, mode="int8", style=style, representative_dataset=data, **INT8), model)


def _without(aware: Network) -> Network:
    """Return a network without its ranges."""
    return Network([layer for layer in aware.layers if not isinstance(layer, FakeQuant)])

"""Published int8 networks with real labelled inputs: the modes, made from the real numbers that their codes mean."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import fbs
import quantref as qr
from benchmarks.accuracy.dequantized import dequantized
from benchmarks.accuracy.digits import INT8, Variant
from benchmarks.accuracy.measure import Labelled
from examples.person_detect import IMAGES, read_bmp, to_input
from qmath.affine import dequantize

MODELS = Path(__file__).resolve().parents[3] / "shared" / "models"


@dataclass(frozen=True)
class Published:
    """A published int8 model and inputs that people have labelled.

    Attributes
    ----------
    name
        Of the network.
    model
        As it was published.
    data
        The inputs; they calibrate too, for there are no others.
    runs_in_litert
        Whether LiteRT loads the published file.

    """

    name: str
    model: fbs.Model
    data: Labelled
    runs_in_litert: bool = True


def published() -> Iterator[Published]:
    """Yield the networks that lie in ``../shared/models``."""
    wakeword = MODELS / "mlperf-tiny" / "streaming_wakeword_int8.tflite"
    if wakeword.is_file():
        with np.load(wakeword.with_name("streaming_wakeword_calibration.npz")) as stored:
            data = Labelled(stored["specs"].astype(np.float32), stored["labels"].astype(np.int64))
        yield Published("streaming_wakeword", qr.load(wakeword), data)
    person = MODELS / "tflm" / "person_detect_int8.tflite"
    if person.is_file():
        model = qr.load(person)
        graph = model.subgraphs[0]
        codes = [to_input(read_bmp(person.with_name(name).read_bytes()), pixels) for name, pixels in IMAGES.items()]
        images = dequantize(np.concatenate(codes), graph.tensors[graph.inputs[0]].quant)
        yield Published("person_detect", model, Labelled(images, np.array([1, 0])), runs_in_litert=False)


def variants(network: Published) -> Iterator[Variant]:
    """Yield the published model, then its float form and what quantref's quantizer makes of that."""
    model = dequantized(network.model)
    data = [[sample[np.newaxis]] for sample in network.data.inputs]
    found = qr.calibrate(model, data)
    yield Variant("int8, as published", network.model, model)
    yield Variant("float32, dequantized", model, model)
    yield Variant("float16", qr.quantize(model, mode="float16"), model)
    yield Variant("dynamic range", qr.quantize(model, mode="dynamic"), model)
    tflite = qr.quantize(model, mode="int8", style="tflite", representative_dataset=data, **INT8)
    yield Variant("int8, style tflite", tflite, model)
    yield Variant("int8, style quantref", qr.quantize(model, mode="int8", statistics=found, **INT8), model)
    wide = qr.quantize(model, mode="16x8", statistics=found, input_type="int16", output_type="int16")
    yield Variant("16x8", wide, model)
    yield Variant("int4 weights", qr.quantize(model, mode="int8", statistics=found, weight_bits=4, **INT8), model)

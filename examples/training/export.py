"""From layers to ``.tflite`` files: a float model, by hand, and the quantized ones that our quantizer makes of it.

Where training left ranges, the float model has FAKE_QUANT ops; quantref.quantizer reads them and needs no other data.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

import fbs
import quantref as qr
from examples.training.fake_quantization import BITS, FakeQuant
from examples.training.layers import (
    Convolution,
    Dense,
    Depthwise,
    Flatten,
    GlobalAveragePool,
    Linear,
    Relu6,
    Windowed,
)
from examples.training.network import SIZE, Network
from examples.training.training import Images
from qmath.affine import dequantize, quantize
from qmath.types import DType, Float32Array

#: Numbers of the schema's enum ActivationFunctionType.
NO_ACTIVATION, RELU6 = 0, 3


def export(network: Network) -> fbs.Model:
    """Return a float32 model of a folded network: input ``image``, shape ``(1, 8, 8, 1)``; output ``probabilities``.

    Filters are written as they are, not rounded: the quantizer does that, to the same values as in training, because
    it finds the same scales.
    """
    return _Export().model(network)


@dataclass
class _Export:
    b: fbs.Builder = field(default_factory=lambda: fbs.Builder(description="examples/training"))
    names: dict[str, int] = field(default_factory=dict)

    def model(self, network: Network) -> fbs.Model:
        shape = (1, SIZE, SIZE, 1)
        x = self.b.input("image", DType.FLOAT32, shape, shape_signature=(-1, *shape[1:]))
        for layer, following in zip(network.layers, [*network.layers[1:], None], strict=True):
            activation = RELU6 if isinstance(following, Relu6) else NO_ACTIVATION  # is computed by the op before it
            if isinstance(layer, Windowed):
                x, shape = self._convolution(layer, x, shape, activation)
            elif isinstance(layer, Dense):
                x, shape = self._dense(layer, x, activation)
            elif isinstance(layer, GlobalAveragePool):
                x, shape = self._average(x, shape)
            elif isinstance(layer, Flatten):
                x, shape = self._flat(x, (1, math.prod(shape)))
            elif isinstance(layer, FakeQuant):
                x = self._range(layer, x, shape)
        probabilities = self._activation("probabilities", shape)
        self.b.op("SOFTMAX", [x], [probabilities], beta=1.0)
        return self.b.finish(outputs=[probabilities])

    def _convolution(
        self, layer: Windowed, x: int, shape: tuple[int, ...], activation: int
    ) -> tuple[int, tuple[int, ...]]:
        name = self._name("depthwise" if isinstance(layer, Depthwise) else "convolution")
        height, width = (-(-size // layer.stride) for size in shape[1:3])
        shape = (1, height, width, layer.weights["filter"].shape[-1])
        y = self._activation(name, shape)
        strides = {"stride_h": layer.stride, "stride_w": layer.stride, "fused_activation_function": activation}
        operands = [x, *self._constants(name, layer)]
        if isinstance(layer, Depthwise):
            self.b.op("DEPTHWISE_CONV_2D", operands, [y], depth_multiplier=1, **strides)
        else:
            self.b.op("CONV_2D", operands, [y], **strides)
        return y, shape

    def _dense(self, layer: Dense, x: int, activation: int) -> tuple[int, tuple[int, ...]]:
        name, shape = self._name("dense"), (1, layer.weights["filter"].shape[-1])
        y = self._activation(name, shape)
        operands = [x, *self._constants(name, layer)]
        self.b.op("FULLY_CONNECTED", operands, [y], fused_activation_function=activation)
        return y, shape

    def _average(self, x: int, shape: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
        """Average by a pool over the whole image, whose codes keep their meaning, and drop the axes of size 1."""
        _, height, width, channels = shape
        pooled = self._activation("average", (1, 1, 1, channels))
        window = {"filter_height": height, "filter_width": width, "stride_h": height, "stride_w": width}
        self.b.op("AVERAGE_POOL_2D", [x], [pooled], padding=1, **window)
        return self._flat(pooled, (1, channels))

    def _flat(self, x: int, shape: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
        flat = self._activation("flat", shape)
        self.b.op("RESHAPE", [x, self.b.constant("flat_shape", np.array([-1, shape[1]], np.int32))], [flat])
        return flat, shape

    def _range(self, layer: FakeQuant, x: int, shape: tuple[int, ...]) -> int:
        low, high = map(float, layer.bounds)
        y = self._activation(self._name("range"), shape)
        self.b.op("FAKE_QUANT", [x], [y], min=low, max=high, num_bits=BITS, narrow_range=False)
        return y

    def _activation(self, name: str, shape: tuple[int, ...]) -> int:
        return self.b.tensor(name, DType.FLOAT32, shape, shape_signature=(-1, *shape[1:]))

    def _constants(self, name: str, layer: Linear) -> list[int]:
        constants = {"filter": to_tflite(layer), "bias": layer.weights["bias"]}
        return [self.b.constant(f"{name}/{part}", array) for part, array in constants.items()]

    def _name(self, kind: str) -> str:
        self.names[kind] = self.names.get(kind, 0) + 1
        return f"{kind}_{self.names[kind]}"


def to_tflite(layer: Linear) -> Float32Array:
    """Return a filter as TensorFlow Lite lays it out: output channels first, or last for a depthwise one."""
    values = layer.weights["filter"]
    if isinstance(layer, Depthwise):
        return values[np.newaxis]
    order = (3, 0, 1, 2) if isinstance(layer, Convolution) else (1, 0)
    return np.ascontiguousarray(values.transpose(order))


def quantize_model(model: fbs.Model, images: Images, weight_bits: int = 8) -> fbs.Model:
    """Quantize a float model to int8 activations, input and output included, and weights of 8 or 4 bits.

    Ranges are those of FAKE_QUANT ops, or else come from running the model over the images.
    """
    has_ranges = any(operator.name == "FAKE_QUANT" for operator in model.subgraphs[0].operators)
    return qr.quantize(
        model,
        mode="int8",
        representative_dataset=None if has_ranges else list(samples(images)),
        weight_bits=weight_bits,
        input_type="int8",
        output_type="int8",
    )


def samples(images: Images) -> Iterator[list[Float32Array]]:
    """Yield images as a representative dataset has them."""
    for image in images.pixels:
        yield [image[np.newaxis]]


def predict(model: fbs.Model, images: Images) -> Float32Array:
    """Run a model by quantref over all images in one batch; return the probabilities as real numbers."""
    graph = model.subgraphs[0]
    entry, result = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]
    pixels = images.pixels if entry.quant is None else quantize(images.pixels, entry.quant)
    (found,) = qr.run(model, {entry.name: pixels}).values()
    return found if result.quant is None else dequantize(found, result.quant)


def measure(model: fbs.Model, images: Images) -> float:
    """Return the share of images whose digit a model reads."""
    return float((predict(model, images).argmax(axis=1) == images.digits).mean())

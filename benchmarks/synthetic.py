"""MobileNetV2-like int8 models of any width and resolution, written by hand: random weights, plausible scales.

For speed mostly the shapes count, but a network whose activations all saturate, or all vanish, would be no likeness.
So the real-valued weights of each layer are drawn such that its sums have a fixed deviation, as batch normalization
gives them; the range of each activation follows; and weights and biases are quantized as the converter does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

import fbs
from qmath.affine import quantize
from qmath.scheme import asymmetric_params, bias_params, fixed_output_params, weight_params
from qmath.types import DType, QuantParams

#: Expansion, channels, repeats and first stride of each stage of MobileNetV2.
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
CLASSES = 1000
#: Values of the schema's enums.
SAME = 0
NO_ACTIVATION, RELU6 = 0, 3
#: Standard deviation of a layer's sums, and how many of them an activation's range reaches to each side.
DEVIATION = 2.0
REACH = 4.0


@dataclass(frozen=True, slots=True)
class Activation:
    """An activation while a network is written.

    Attributes
    ----------
    index
        Of its tensor.
    shape
        NHWC, or (batch, features).
    params
        Its quantization.
    magnitude
        Root mean square of its real values, about.

    """

    index: int
    shape: tuple[int, ...]
    params: QuantParams
    magnitude: float


class Network:
    """Writes a network layer by layer."""

    def __init__(self, seed: int = 0) -> None:
        self.builder = fbs.Builder(description="synthetic MobileNetV2, int8, random weights")
        self._rng = np.random.default_rng(seed)
        self._numbers: Iterator[int] = iter(range(1_000_000))

    def image(self, resolution: int) -> Activation:
        """Add the input: an image with values from -1 to 1."""
        shape, params = (1, resolution, resolution, 3), asymmetric_params(-1.0, 1.0)
        index = self.builder.input("image", DType.INT8, shape, quantization=fbs.Quantization.of(params))
        return Activation(index, shape, params, magnitude=0.6)

    def conv(self, x: Activation, channels: int, *, kernel: int = 1, stride: int = 1, relu: bool = True) -> Activation:
        """Add a convolution."""
        shape = (channels, kernel, kernel, x.shape[3])
        y = self._activation((*_strided(x.shape, stride), channels), DEVIATION, relu=relu)
        tensors = self._filter_and_bias(x, shape, math.prod(shape[1:]), axis=0)
        self.builder.op("CONV_2D", [x.index, *tensors], [y.index], version=3, options=_window(stride, relu=relu))
        return y

    def depthwise(self, x: Activation, *, stride: int) -> Activation:
        """Add a depthwise convolution, 3x3, with ReLU6."""
        y = self._activation((*_strided(x.shape, stride), x.shape[3]), DEVIATION, relu=True)
        tensors = self._filter_and_bias(x, (1, 3, 3, x.shape[3]), 9, axis=3)
        options = {**_window(stride, relu=True), "depth_multiplier": 1}
        self.builder.op("DEPTHWISE_CONV_2D", [x.index, *tensors], [y.index], version=3, options=options)
        return y

    def add(self, x: Activation, y: Activation) -> Activation:
        """Add two activations."""
        total = self._activation(x.shape, math.hypot(x.magnitude, y.magnitude))
        self.builder.op("ADD", [x.index, y.index], [total.index], version=2)
        return total

    def mean(self, x: Activation) -> Activation:
        """Average over height and width."""
        y = self._activation((1, x.shape[3]), x.magnitude, relu=True)
        axes = self.builder.constant("axes", np.array([1, 2], np.int32))
        self.builder.op("MEAN", [x.index, axes], [y.index], version=2, keep_dims=False)
        return y

    def classify(self, x: Activation, classes: int) -> Activation:
        """Add a fully connected layer and softmax."""
        y = self._activation((1, classes), DEVIATION)
        tensors = self._filter_and_bias(x, (classes, x.shape[1]), x.shape[1], axis=None)
        self.builder.op("FULLY_CONNECTED", [x.index, *tensors], [y.index], version=4)
        params = fixed_output_params("SOFTMAX", DType.INT8)
        assert params is not None, "softmax prescribes its output"  # noqa: S101 - the table has it
        out = self.builder.tensor("probabilities", DType.INT8, y.shape, quantization=fbs.Quantization.of(params))
        self.builder.op("SOFTMAX", [y.index], [out], version=2, beta=1.0)
        return Activation(out, y.shape, params, magnitude=0.03)

    def _activation(self, shape: tuple[int, ...], deviation: float, *, relu: bool = False) -> Activation:
        """Add the tensor that takes values of mean 0 and a deviation, ReLU6 applied or not."""
        reach = REACH * deviation
        params = asymmetric_params(0.0, min(6.0, reach)) if relu else asymmetric_params(-reach, reach)
        index = self.builder.tensor(
            f"activation_{next(self._numbers)}", DType.INT8, shape, quantization=fbs.Quantization.of(params)
        )
        # ReLU takes away half of the square; what 6 cuts off is little.
        return Activation(index, shape, params, deviation / math.sqrt(2) if relu else deviation)

    def _filter_and_bias(self, x: Activation, shape: tuple[int, ...], fan_in: int, axis: int | None) -> tuple[int, int]:
        """Add weights that give sums of ``fan_in`` products with ``x`` their deviation, and small biases."""
        real = self._rng.normal(0.0, DEVIATION / (x.magnitude * math.sqrt(fan_in)), shape).astype(np.float32)
        weights = weight_params(real, DType.INT8, axis)
        bias = bias_params(x.params, weights)
        channels = shape[axis or 0]
        name = f"weights_{next(self._numbers)}"
        codes = np.rint(self._rng.normal(0.0, DEVIATION / 10, channels) / bias.scale).astype(np.int32)
        return (
            self.builder.constant(name, quantize(real, weights), DType.INT8, quantization=fbs.Quantization.of(weights)),
            self.builder.constant(f"{name}_bias", codes, DType.INT32, quantization=fbs.Quantization.of(bias)),
        )


def mobilenet_v2(width: float = 1.0, resolution: int = 224, *, classes: int = CLASSES, seed: int = 0) -> fbs.Model:
    """Write a MobileNetV2 with int8 weights and activations.

    Parameters
    ----------
    width
        Multiplier of the channels.
    resolution
        Height and width of the image.
    classes
        Outputs.
    seed
        Of the weights.

    """
    net = Network(seed)
    x = net.conv(net.image(resolution), channels_of(32, width), kernel=3, stride=2)
    for expansion, channels, repeats, first_stride in STAGES:
        for repeat in range(repeats):
            stride = first_stride if repeat == 0 else 1
            x = _inverted_residual(net, x, expansion, channels_of(channels, width), stride)
    x = net.conv(x, channels_of(1280, max(1.0, width)))
    out = net.classify(net.mean(x), classes)
    return net.builder.finish(outputs=[out.index])


def _inverted_residual(net: Network, x: Activation, expansion: int, channels: int, stride: int) -> Activation:
    inside = net.conv(x, expansion * x.shape[3]) if expansion > 1 else x
    y = net.conv(net.depthwise(inside, stride=stride), channels, relu=False)
    return net.add(x, y) if x.shape == y.shape else y


def channels_of(channels: int, width: float) -> int:
    """Scale a number of channels: a multiple of 8, and not less than nine tenths of the product."""
    product = channels * width
    rounded = max(8, int(product + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * product else rounded


def _window(stride: int, *, relu: bool) -> dict[str, int]:
    """Return the options of a convolution."""
    return {
        "padding": SAME,
        "stride_h": stride,
        "stride_w": stride,
        "dilation_h_factor": 1,
        "dilation_w_factor": 1,
        "fused_activation_function": RELU6 if relu else NO_ACTIVATION,
    }


def _strided(shape: tuple[int, ...], stride: int) -> tuple[int, int, int]:
    return shape[0], -(-shape[1] // stride), -(-shape[2] // stride)

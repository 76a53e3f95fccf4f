"""Train the small network of the demo and convert it to float32 with TensorFlow's converter.

Reads ``quantref/data/digits.npz`` and writes beside it ``digits_float32.tflite``, and ``digits.json`` with the seed,
the versions, and size, digest and test accuracy of the file. The accuracy is measured with LiteRT's reference kernels.
``quantize_digits.py`` makes the other models of it. Takes under a minute on two cores. Needs TensorFlow and LiteRT, in
an environment of their own:

    python3 -m venv tfvenv
    tfvenv/bin/pip install 'tensorflow-cpu==2.21.*' 'ai-edge-litert==2.3.0'
    tfvenv/bin/python examples/train_digits.py
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import math
import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")  # before TensorFlow is imported: no search for a GPU

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter, OpResolverType

SEED = 2
EPOCHS = 60
BATCH = 32
LEARNING_RATE = 4e-3
LOWEST_ACCURACY = 0.97
DATA = Path(__file__).resolve().parent.parent / "quantref" / "data"

# --- the network --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Linear:
    """The linear part of a layer: a convolution, a depthwise convolution (both NHWC, SAME padding) or a matmul.

    Attributes
    ----------
    shape
        Shape of the filter: ``(height, width, in_channels, out_channels)``, ``(height, width, channels, 1)`` if
        depthwise, ``(inputs, outputs)`` for a matmul.
    stride
        The same in both directions.

    """

    shape: tuple[int, ...]
    stride: int = 1
    is_depthwise: bool = False

    @property
    def fan_in(self) -> int:
        """Number of inputs that one output sums."""
        return math.prod(self.shape[:2] if self.is_depthwise else self.shape[:-1])

    @property
    def channels(self) -> int:
        """Number of output channels."""
        return self.shape[2 if self.is_depthwise else -1]

    def initial_filter(self) -> tf.Tensor:
        """Draw a filter after He."""
        return tf.random.stateless_normal(self.shape, (SEED, self.fan_in), stddev=(2 / self.fan_in) ** 0.5)

    def __call__(self, x: tf.Tensor, values: Any) -> tf.Tensor:
        """Apply a filter to ``x``."""
        if len(self.shape) == 2:
            return tf.matmul(x, values)
        operation = tf.nn.depthwise_conv2d if self.is_depthwise else tf.nn.conv2d
        return operation(x, values, [1, self.stride, self.stride, 1], "SAME", name="Conv2D")


@dataclass(frozen=True)
class Deployed:
    """A layer of constants: linear part and bias, as a converted model has them."""

    linear: Linear
    filter: np.ndarray
    bias: np.ndarray

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        """Apply the layer to ``x``."""
        return tf.nn.bias_add(self.linear(x, self.filter), self.bias)


class Dense:
    """A fully connected layer in training."""

    def __init__(self, inputs: int, outputs: int) -> None:
        self.linear = Linear((inputs, outputs))
        self.filter = tf.Variable(self.linear.initial_filter())
        self.bias = tf.Variable(tf.zeros(outputs))
        self.trainable = [self.filter, self.bias]

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        """Apply the layer to ``x``."""
        return tf.nn.bias_add(self.linear(x, self.filter), self.bias)

    def deploy(self) -> Deployed:
        """Freeze the values that were learned."""
        return Deployed(self.linear, self.filter.numpy(), self.bias.numpy())


class Convolution:
    """A convolution with batch normalization in training."""

    EPSILON = 1e-3
    MOMENTUM = 0.95

    def __init__(self, *shape: int, stride: int = 1, is_depthwise: bool = False) -> None:
        self.linear = Linear(shape, stride, is_depthwise)
        ones, zeros = tf.ones(self.linear.channels), tf.zeros(self.linear.channels)
        self.filter = tf.Variable(self.linear.initial_filter())
        self.gamma, self.beta = tf.Variable(ones), tf.Variable(zeros)
        self.mean, self.variance = tf.Variable(zeros), tf.Variable(ones)
        self.trainable = [self.filter, self.gamma, self.beta]

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        """Convolve ``x`` and normalize by the statistics of the batch, which also move the running statistics."""
        x = self.linear(x, self.filter)
        mean, variance = tf.nn.moments(x, [0, 1, 2])
        for running, value in ((self.mean, mean), (self.variance, variance)):
            running.assign(self.MOMENTUM * running + (1 - self.MOMENTUM) * value)
        return tf.nn.batch_normalization(x, mean, variance, self.beta, self.gamma, self.EPSILON)

    def deploy(self) -> Deployed:
        """Fold the normalization, by the running statistics, into the filter and a bias."""
        factor = self.gamma.numpy() / np.sqrt(self.variance.numpy() + np.float32(self.EPSILON))
        per_channel = (-1, 1) if self.linear.is_depthwise else (-1,)
        bias = self.beta.numpy() - self.mean.numpy() * factor
        return Deployed(self.linear, self.filter.numpy() * factor.reshape(per_channel), bias)


def create_layers() -> dict[str, Convolution | Dense]:
    """Create the layers of the network, untrained, by the names that their tensors will have in the .tflite files."""
    return {
        "stem": Convolution(3, 3, 1, 16),
        "separable_depthwise": Convolution(3, 3, 16, 1, is_depthwise=True),
        "separable_pointwise": Convolution(1, 1, 16, 32),
        "residual_depthwise": Convolution(3, 3, 32, 1, is_depthwise=True),
        "residual_pointwise": Convolution(1, 1, 32, 32),
        "strided": Convolution(3, 3, 32, 32, stride=2),
        "dense": Dense(32, 10),
    }


def network(image: tf.Tensor, layers: Mapping[str, Callable[[tf.Tensor], tf.Tensor]]) -> tf.Tensor:
    """Connect the layers: a little of everything that a vision model on a microcontroller has.

    Parameters
    ----------
    image
        float32, shape ``(batch, 8, 8, 1)``: grey levels in [0, 1].
    layers
        Those of :func:`create_layers`, in training or deployed.

    Returns
    -------
    tf.Tensor
        Logits, float32, shape ``(batch, 10)``.

    """

    def block(name: str, x: tf.Tensor, activation: Callable[[tf.Tensor], tf.Tensor] = tf.identity) -> tf.Tensor:
        with tf.name_scope(name):
            return activation(layers[name](x))

    x = block("stem", image, tf.nn.relu)
    x = block("separable_depthwise", x, tf.nn.relu6)
    x = block("separable_pointwise", x, tf.nn.relu)
    x = tf.nn.max_pool2d(x, 2, 2, "VALID", name="max_pool")
    branch = block("residual_depthwise", x, tf.nn.relu6)
    branch = block("residual_pointwise", branch)
    x = tf.nn.relu(tf.add(x, branch, name="residual_add"), name="residual_relu")
    x = block("strided", x, tf.nn.relu)
    x = tf.nn.avg_pool2d(x, 2, 2, "VALID", name="average_pool")
    x = tf.reshape(x, (-1, 32), name="flatten")  # -1 rather than the batch: no ops that compute a shape
    return block("dense", x)


# --- training -----------------------------------------------------------------------------------------------------


def load_digits() -> dict[str, np.ndarray]:
    """Load the images as float32 grey levels in [0, 1], shape ``(images, 8, 8, 1)``, and the labels."""
    with np.load(DATA / "digits.npz") as stored:
        arrays = dict(stored)
    for split in ("train", "test"):
        arrays[f"{split}_images"] = arrays[f"{split}_images"][..., np.newaxis].astype(np.float32) / np.float32(16)
    return arrays


def train(images: np.ndarray, labels: np.ndarray) -> dict[str, Deployed]:
    """Train the network with Adam; the learning rate falls to zero along a cosine."""
    tf.config.experimental.enable_op_determinism()
    tf.random.set_seed(SEED)
    layers = create_layers()
    variables = [variable for layer in layers.values() for variable in layer.trainable]
    batches = len(images) // BATCH
    optimizer = tf.keras.optimizers.Adam(tf.keras.optimizers.schedules.CosineDecay(LEARNING_RATE, EPOCHS * batches))

    @tf.function
    def step(batch: tf.Tensor, truth: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            logits = network(batch, layers)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(truth, logits))
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))

    random = np.random.default_rng(SEED)
    for _ in range(EPOCHS):
        order = random.permutation(len(images))[: batches * BATCH].reshape(batches, BATCH)
        for chosen in order:
            step(tf.constant(images[chosen]), tf.constant(labels[chosen], tf.int32))
    return {name: layer.deploy() for name, layer in layers.items()}


# --- conversion ---------------------------------------------------------------------------------------------------


def convert(layers: Mapping[str, Deployed]) -> bytes:
    """Return the bytes of the network as a float32 .tflite file."""

    def classify(image: tf.Tensor) -> tf.Tensor:
        return tf.nn.softmax(network(image, layers), name="probabilities")

    # A wrapped graph, unlike a traced function, keeps the names of its input and output tensors.
    signature = [tf.TensorSpec((None, 8, 8, 1), tf.float32, name="image")]
    converter = tf.lite.TFLiteConverter.from_concrete_functions([tf.compat.v1.wrap_function(classify, signature)])
    return bytes(converter.convert())


# --- measurement --------------------------------------------------------------------------------------------------


def run_litert(model: bytes, images: np.ndarray) -> np.ndarray:
    """Run the network under LiteRT's reference kernels, all images in one batch.

    Parameters
    ----------
    model
        Bytes of a .tflite file.
    images
        float32, shape ``(batch, 8, 8, 1)``.

    Returns
    -------
    numpy.ndarray
        Probabilities, shape ``(batch, 10)``.

    """
    interpreter = Interpreter(
        model_content=model, experimental_op_resolver_type=OpResolverType.BUILTIN_REF, num_threads=1
    )
    (entry,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.resize_tensor_input(entry["index"], images.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(entry["index"], images)
    interpreter.invoke()
    return interpreter.get_tensor(result["index"])


def measure(model: bytes, digits: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Measure the network on the test split, and check that a batch and single images give the same.

    Raises
    ------
    ValueError
        It is much worse than it should be, or its outputs depend on the batch.

    """
    images, labels = digits["test_images"], digits["test_labels"]
    outputs = run_litert(model, images)
    single = np.concatenate([run_litert(model, image[np.newaxis]) for image in images[:10]])
    if not np.array_equal(single, outputs[:10]):
        message = "expected the same outputs for single images as for a batch, found others"
        raise ValueError(message)
    correct = int((outputs.argmax(axis=1) == labels).sum())
    if correct < LOWEST_ACCURACY * len(labels):
        message = f"expected at least {LOWEST_ACCURACY:.0%} of the test images right, found {correct}"
        raise ValueError(message)
    return {
        "file": "digits_float32.tflite",
        "bytes": len(model),
        "sha256": hashlib.sha256(model).hexdigest(),
        "correct": correct,
        "accuracy": correct / len(labels),
    }


def versions() -> dict[str, str]:
    """Name the versions that the files depend on."""
    packages = ("tensorflow-cpu", "ai-edge-litert", "numpy")
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in packages}


def main() -> None:
    """Train, convert, measure, write."""
    digits = load_digits()
    layers = train(digits["train_images"], digits["train_labels"])
    model = convert(layers)
    measured = measure(model, digits)
    (DATA / measured["file"]).write_bytes(model)
    print(f"{len(model)} bytes, {measured['accuracy']:.1%} of the test images right")
    stamp = {
        "made_by": "examples/train_digits.py",
        "data": {"file": "digits.npz", "sha256": hashlib.sha256((DATA / "digits.npz").read_bytes()).hexdigest()},
        "seed": SEED,
        "parameters": sum(layer.filter.size + layer.bias.size for layer in layers.values()),
        "versions": versions(),
        "test_images": len(digits["test_labels"]),
        "accuracy_under": "LiteRT, op resolver BUILTIN_REF",
        "models": {"float32": measured},
    }
    (DATA / "digits.json").write_text(json.dumps(stamp, indent=2) + "\n")


if __name__ == "__main__":
    main()

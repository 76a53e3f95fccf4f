"""Good models in which nothing is to be found, and the edits that make faults of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import fbs
from qmath.types import Array, DType


def codes(seed: int, *shape: int) -> Array:
    """Return int8 weights from -127 to 127."""
    return np.random.default_rng(seed).integers(-127, 128, shape).astype(np.int8)


def network() -> fbs.Model:
    """Build a network of seven int8 ops, such as TFLiteConverter writes it."""
    b = fbs.Builder(description="good")
    scale = np.float32(0.02)
    x = b.input("x", DType.INT8, (1, 8, 8, 4), scale=scale, zero_point=-3)
    rng = np.random.default_rng(1)
    scales = np.linspace(0.005, 0.009, 8, dtype=np.float32)
    w = b.constant("conv_w", codes(2, 8, 3, 3, 4), scale=scales)
    bias = b.constant("conv_b", rng.integers(-2000, 2000, 8).astype(np.int32), scale=scale * scales)
    conv = b.tensor("conv", DType.INT8, (1, 8, 8, 8), scale=0.05, zero_point=4)
    b.op("CONV_2D", [x, w, bias], [conv], version=3, stride_w=1, stride_h=1)
    scale = np.float32(0.05)
    w = b.constant("depthwise_w", codes(3, 1, 3, 3, 8), scale=scales, quantized_dimension=3)
    bias = b.constant("depthwise_b", rng.integers(-2000, 2000, 8).astype(np.int32), scale=scale * scales)
    depthwise = b.tensor("depthwise", DType.INT8, (1, 8, 8, 8), scale=0.06, zero_point=-1)
    b.op("DEPTHWISE_CONV_2D", [conv, w, bias], [depthwise], version=3, stride_w=1, stride_h=1, depth_multiplier=1)
    total = b.tensor("sum", DType.INT8, (1, 8, 8, 8), scale=0.09, zero_point=2)
    b.op("ADD", [conv, depthwise], [total], version=2)
    joined = b.tensor("joined", DType.INT8, (1, 8, 8, 16), scale=0.09, zero_point=2)
    b.op("CONCATENATION", [total, total], [joined], version=2, axis=3)
    mean = b.tensor("mean", DType.INT8, (1, 16), scale=0.04)
    b.op("MEAN", [joined, b.constant("axes", np.array([1, 2], np.int32))], [mean], version=2)
    w = b.constant("dense_w", codes(4, 10, 16), scale=0.01)
    dense_scale = np.float32(0.04) * np.float32(0.01)
    bias = b.constant("dense_b", rng.integers(-2000, 2000, 10).astype(np.int32), scale=dense_scale)
    dense = b.tensor("dense", DType.INT8, (1, 10), scale=0.1)
    b.op("FULLY_CONNECTED", [mean, w, bias], [dense], version=4)
    scores = b.tensor("scores", DType.INT8, (1, 10), scale=1 / 256, zero_point=-128)
    b.op("SOFTMAX", [dense], [scores], version=2, beta=1.0)
    b.signature("serving_default", {"image": x}, {"scores": scores})
    return b.finish([scores])


def wide() -> fbs.Model:
    """Build a network of three 16x8 ops; all scales are powers of two, so that no multiplier loses a bit."""
    b = fbs.Builder()
    x = b.input("x", DType.INT16, (1, 8, 8, 4), scale=2.0**-12)
    w = b.constant("conv_w", codes(2, 8, 3, 3, 4), scale=[2.0**-7] * 8)
    bias = b.constant("conv_b", np.arange(8) * 1000, scale=[2.0**-19] * 8)
    conv = b.tensor("conv", DType.INT16, (1, 8, 8, 8), scale=2.0**-10)
    b.op("CONV_2D", [x, w, bias], [conv], version=4, stride_w=1, stride_h=1)
    w = b.constant("depthwise_w", codes(3, 1, 3, 3, 8), scale=[2.0**-7] * 8, quantized_dimension=3)
    bias = b.constant("depthwise_b", np.arange(8) * 1000, scale=[2.0**-17] * 8)
    depthwise = b.tensor("depthwise", DType.INT16, (1, 8, 8, 8), scale=2.0**-9)
    b.op("DEPTHWISE_CONV_2D", [conv, w, bias], [depthwise], version=5, stride_w=1, stride_h=1, depth_multiplier=1)
    mean = b.tensor("mean", DType.INT16, (1, 8), scale=2.0**-9)
    b.op("MEAN", [depthwise, b.constant("axes", np.array([1, 2], np.int32))], [mean], version=3)
    return b.finish([mean])


def elementwise(name: str, version: int, scales: Sequence[float], **options: Any) -> fbs.Model:
    """Build an int8 op of tensors of 8 codes: one scale an input, then the output's; zero points are 0."""
    b = fbs.Builder()
    inputs = [b.input(f"x{slot}", DType.INT8, (1, 8), scale=scale) for slot, scale in enumerate(scales[:-1])]
    y = b.tensor("y", DType.INT8, (1, 8), scale=scales[-1])
    b.op(name, inputs, [y], version=version, **options)
    return b.finish([y])


def unary(name: str, version: int, x: Mapping[str, Any], y: Mapping[str, Any], **options: Any) -> fbs.Model:
    """Build an op of one tensor; ``x`` and ``y`` are the arguments of the builder's ``tensor``."""
    b = fbs.Builder()
    source = b.input("x", **{"dtype": DType.INT8, "shape": (1, 8), **x})
    result = b.tensor("y", **{"dtype": DType.INT8, "shape": (1, 8), **y})
    b.op(name, [source], [result], version=version, **options)
    return b.finish([result])


def dense(weights: Array, *, wide: bool = False, y_scale: float = 0.1, version: int | None = None) -> fbs.Model:
    """Build a FULLY_CONNECTED with a bias of zeros; scales of input and weights are 2**-5 and 2**-7."""
    b = fbs.Builder()
    dtype = DType.INT16 if wide else DType.INT8
    rows, columns = weights.shape
    x = b.input("x", dtype, (1, columns), scale=2.0**-5)
    w = b.constant("w", weights, scale=2.0**-7)
    bias = b.constant("b", np.zeros(rows, np.int64 if wide else np.int32), scale=2.0**-12)
    y = b.tensor("y", dtype, (1, rows), scale=y_scale)
    b.op("FULLY_CONNECTED", [x, w, bias], [y], version=version or (7 if wide else 4))
    return b.finish([y])


def transposed() -> fbs.Model:
    """Build an int8 TRANSPOSE_CONV with a stride of 2."""
    b = fbs.Builder()
    shape = b.constant("shape", np.array([1, 8, 8, 3], np.int32))
    w = b.constant("w", codes(5, 3, 3, 3, 4), scale=[2.0**-7] * 3)
    x = b.input("x", DType.INT8, (1, 4, 4, 4), scale=2.0**-5, zero_point=7)
    bias = b.constant("b", np.array([5, -6, 7], np.int32), scale=[2.0**-12] * 3)
    y = b.tensor("y", DType.INT8, (1, 8, 8, 3), scale=0.1)
    b.op("TRANSPOSE_CONV", [shape, w, x, bias], [y], version=3, stride_w=2, stride_h=2)
    return b.finish([y])


def lstm() -> fbs.Model:
    """Build an int8 UNIDIRECTIONAL_SEQUENCE_LSTM of 4 features and 3 cells."""
    b = fbs.Builder()
    x = b.input("x", DType.INT8, (1, 2, 4), scale=2.0**-5)
    weights = [b.constant(f"w{gate}", codes(gate, 3, 4), scale=2.0**-7) for gate in range(4)]
    recurrent = [b.constant(f"r{gate}", codes(9 + gate, 3, 3), scale=2.0**-7) for gate in range(4)]
    biases = [b.constant(f"b{gate}", np.zeros(3, np.int32), scale=2.0**-12) for gate in range(4)]
    hidden = b.variable("hidden", DType.INT8, (1, 3), scale=2.0**-7)
    cell = b.variable("cell", DType.INT16, (1, 3), scale=2.0**-11)
    gates = [b.tensor(f"gate{gate}", DType.INT16, (), scale=2.0**-12) for gate in range(4)]
    product = b.tensor("product", DType.INT8, (), scale=2.0**-7)
    y = b.tensor("y", DType.INT8, (1, 2, 3), scale=2.0**-7)
    inputs = [x, *weights, *recurrent, *[None] * 3, *biases, *[None] * 2, hidden, cell, *[None] * 4]
    b.op(
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        inputs,
        [y],
        version=1,
        intermediates=[*gates, product],
        fused_activation_function=4,
    )
    return b.finish([y])


# --- Edits --------------------------------------------------------------------------------------------------------


def with_graph(model: fbs.Model, **changes: Any) -> fbs.Model:
    """Change the main subgraph."""
    return dataclasses.replace(model, subgraphs=(dataclasses.replace(model.subgraphs[0], **changes),))


def with_tensor(model: fbs.Model, name: str, **changes: Any) -> fbs.Model:
    """Change a tensor."""
    tensors = tuple(
        dataclasses.replace(tensor, **changes) if tensor.name == name else tensor
        for tensor in model.subgraphs[0].tensors
    )
    return with_graph(model, tensors=tensors)


def tensor(model: fbs.Model, name: str) -> fbs.Tensor:
    """Return a tensor by its name."""
    return next(found for found in model.subgraphs[0].tensors if found.name == name)


def with_quant(model: fbs.Model, name: str, **changes: Any) -> fbs.Model:
    """Change the quantization parameters of a tensor."""
    quantization = tensor(model, name).quantization
    assert quantization is not None
    return with_tensor(model, name, quantization=dataclasses.replace(quantization, **changes))


def with_entry(model: fbs.Model, name: str, field: str, index: int, value: float) -> fbs.Model:
    """Change one of a tensor's scales or zero points."""
    values = np.array(getattr(tensor(model, name).quantization, field))
    values[index] = value
    return with_quant(model, name, **{field: values})


def with_data(model: fbs.Model, name: str, values: Array, **changes: Any) -> fbs.Model:
    """Change a constant; its shape, too, if the values have another."""
    dtype = changes.get("dtype", tensor(model, name).dtype)
    return with_tensor(model, name, buffer=fbs.Buffer.of(values, dtype), shape=values.shape, **changes)


def with_value(model: fbs.Model, name: str, index: Any, value: Any) -> fbs.Model:
    """Change some elements of a constant."""
    values = np.array(tensor(model, name).data)
    values[index] = value
    return with_data(model, name, values)


def with_op(model: fbs.Model, index: int, **changes: Any) -> fbs.Model:
    """Change an operator."""
    operators = list(model.subgraphs[0].operators)
    operators[index] = dataclasses.replace(operators[index], **changes)
    return with_graph(model, operators=tuple(operators))


def with_version(model: fbs.Model, index: int, version: int) -> fbs.Model:
    """Change the version of an operator."""
    code = dataclasses.replace(model.subgraphs[0].operators[index].code, version=version)
    return with_op(model, index, code=code)


def with_options(model: fbs.Model, index: int, **changes: Any) -> fbs.Model:
    """Change options of an operator."""
    options = model.subgraphs[0].operators[index].options
    assert options is not None
    return with_op(model, index, options=fbs.Options(options.table, {**dict(options.items()), **changes}))


def rounded_multiplier() -> fbs.Model:
    """Build :func:`wide` with a multiplier that lies midway between two 15-bit ones."""
    return with_quant(wide(), "depthwise", scale=[2.0**-9 / (1 + 2.0**-15)], zero_point=[0])

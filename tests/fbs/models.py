"""Small models made by the builder, which together use every corner of the format."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

import fbs
from qmath.types import DType


def conv() -> fbs.Model:
    """CONV_2D with packed int4 weights per axis, a signature and metadata."""
    b = fbs.Builder(description="one convolution")
    x = b.input("x", DType.INT8, (1, 8, 8, 3), scale=0.5, zero_point=-1, shape_signature=(-1, 8, 8, 3))
    weights = (np.arange(4 * 3 * 3 * 3).reshape(4, 3, 3, 3) % 15 - 7).astype(np.int8)
    w = b.constant("w", weights, DType.INT4, scale=[0.1, 0.2, 0.3, 0.4], quantized_dimension=0)
    bias = b.constant("bias", np.array([-50, 0, 7, 1000], np.int32), scale=[0.05, 0.1, 0.15, 0.2])
    y = b.tensor("y", DType.INT8, (1, 8, 8, 4), scale=4.0, zero_point=3, shape_signature=(-1, 8, 8, 4))
    b.op("CONV_2D", [x, w, bias], [y], version=3, padding=0, stride_h=1, stride_w=1)
    b.signature("serving_default", {"image": x}, {"scores": y})
    b.metadata("min_runtime_version", b"2.3.0".ljust(16, b"\0"))
    return b.finish(outputs=[y])


def control_flow() -> fbs.Model:
    """WHILE over two further subgraphs: add 2 until 10 is reached."""
    b = fbs.Builder()
    x = b.input("x", DType.INT32, ())
    y = b.tensor("y", DType.INT32, ())
    condition, cond = b.subgraph("cond")
    limit = cond.constant("limit", np.array(10, np.int32))
    below = cond.tensor("below", DType.BOOL, ())
    cond.op("LESS", [cond.input("x", DType.INT32, ()), limit], [below])
    cond.outputs(below)
    body_index, body = b.subgraph("body")
    step, more = body.constant("step", np.array(2, np.int32)), body.tensor("more", DType.INT32, ())
    body.op("ADD", [body.input("x", DType.INT32, ()), step], [more])
    body.outputs(more)
    b.op("WHILE", [x], [y], cond_subgraph_index=condition, body_subgraph_index=body_index)
    return b.finish(outputs=[y])


def stablehlo() -> fbs.Model:
    """Options with vectors, strings, bytes and subgraphs, in the schema's second union."""
    b = fbs.Builder()
    x, y = b.input("x", DType.FLOAT32, (1, 4, 4, 2)), b.tensor("y", DType.FLOAT32, (1, 4, 4, 2))
    z, out = b.tensor("z", DType.FLOAT32, (1, 4, 4, 2)), b.tensor("out", DType.FLOAT32, (1, 4, 4, 2))
    kernel = b.constant("kernel", np.ones((1, 1, 2, 2), np.float32))
    index, inner = b.subgraph("decomposition")
    inner.outputs(inner.input("same", DType.FLOAT32, (1, 4, 4, 2)))
    b.op(
        "STABLEHLO_CONVOLUTION",
        [x, kernel],
        [y],
        window_strides=(1, 1),
        padding=[0, 0, 0, 0],
        window_reversal=[True, False],
        input_spatial_dimensions=(1, 2),
        feature_group_count=1,
        precision_config=[0, 1],
    )
    b.op(
        "STABLEHLO_CUSTOM_CALL", [y], [z], call_target_name="größer", custom_attributes=b"\1\2", called_computations=[]
    )
    options = {"name": "odml.same", "version": 2, "decomposition_subgraph_index": index}
    b.op("STABLEHLO_COMPOSITE", [z], [out], options=options, composite_attributes=b"abc")
    return b.finish(outputs=[out])


def sparse() -> fbs.Model:
    """DENSIFY of a 4x4 matrix that has two 2x2 blocks: at rows 0-1, columns 2-3, and rows 2-3, columns 0-1."""
    sparsity = fbs.Sparsity(
        traversal_order=(0, 1, 2, 3),
        block_map=(0, 1),
        dim_metadata=(
            fbs.DimensionMetadata(0, 2),
            fbs.DimensionMetadata(1, 0, np.array([0, 1, 2], np.uint8), np.array([1, 0], np.uint16)),
            fbs.DimensionMetadata(0, 2),
            fbs.DimensionMetadata(0, 2),
        ),
    )
    b = fbs.Builder()
    x, y = b.input("x", DType.FLOAT32, (1, 4)), b.tensor("y", DType.FLOAT32, (1, 4))
    stored = b.constant("w", np.arange(1, 9, dtype=np.float32), shape=(4, 4), sparsity=sparsity)
    dense = b.tensor("dense", DType.FLOAT32, (4, 4))
    b.op("DENSIFY", [stored], [dense])
    b.op("FULLY_CONNECTED", [x, dense, None], [y])
    return b.finish(outputs=[y])


def outside() -> fbs.Model:
    """Buffers and custom options behind the flatbuffer, as in models over 2 GB."""
    b = fbs.Builder()
    x, y, z = (make(name, DType.FLOAT32, (3,)) for make, name in ((b.input, "x"), (b.tensor, "y"), (b.tensor, "z")))
    c = b.tensor("c", DType.FLOAT32, (3,), buffer=fbs.Buffer(np.array([1, 2, 3], np.float32), outside=True))
    b.op("ADD", [x, c], [y])
    b.custom("Flourish", [y], [z], b"large options", version=2)
    model = b.finish(outputs=[z])
    graph = model.subgraphs[0]
    operators = (graph.operators[0], dataclasses.replace(graph.operators[1], custom_options_outside=True))
    return dataclasses.replace(model, subgraphs=(dataclasses.replace(graph, operators=operators),))


def recurrent() -> fbs.Model:
    """SVDF: a variable tensor, an absent optional input; and a tensor that carries quantization alone."""
    b = fbs.Builder()
    x = b.input("x", DType.INT8, (1, 4), scale=0.1, zero_point=5)
    feature = b.constant("feature", np.eye(2, 4, dtype=np.int8), scale=0.02)
    time = b.constant("time", np.ones((2, 3), np.int16), scale=0.01)
    state = b.variable("state", DType.INT16, (1, 6), scale=0.002)
    y = b.tensor("y", DType.INT8, (1, 2), quantization=_everything())
    carrier = b.tensor("carrier", DType.INT16, (), scale=0.5)
    b.op(
        "SVDF",
        [x, feature, time, None, state],
        [y],
        version=3,
        intermediates=[carrier],
        mutating_variable_inputs=[False] * 4 + [True],
        rank=1,
        fused_activation_function=1,
    )
    return b.finish(outputs=[y])


def _everything() -> fbs.Quantization:
    return fbs.Quantization(
        min=np.array([-1.5], np.float32),
        max=np.array([1.5], np.float32),
        scale=np.array([1e-4], np.float32),
        zero_point=np.array([-128]),
        custom=b"details",
    )


MODELS: dict[str, Callable[[], fbs.Model]] = {
    make.__name__: make for make in (conv, control_flow, stablehlo, sparse, outside, recurrent)
}

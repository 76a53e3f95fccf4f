"""Bias correction: rounded weights shift an op's mean output; the bias, whose steps are fine, can take that back.

A weight ``w`` is stored as the nearest multiple of its scale, ``w + e``. Over the data an output channel is then off by
``sum(e * mean(x))`` on average. After RELU and its like, inputs have means far from 0, so this is a large part of what
rounding costs. The shift is known once the means are, and the bias is given less of just as much.

Means are taken channel by channel, at every place alike: where a window overlaps padding, a little is left over.

Follows Nagel, van Baalen, Blankevoort, Welling, "Data-Free Quantization Through Weight Equalization and Bias
Correction" (ICCV 2019), section 4.2, with means from data.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

import fbs
from qmath.types import Array, Float64Array
from quantref.quantizer.op_table import AFFINE_OPS

#: Values of a channel that are added in their own type before the sums go to float64.
ADDED_IN_FLOAT32 = 16


def channel_counts(subgraph: fbs.Subgraph) -> dict[int, int]:
    """Return the activations whose means matter, and how many channels each has.

    These are the inputs of ops with constant weights. A FULLY_CONNECTED op may read several places as one: then each
    element that it multiplies with weights of its own counts as a channel.
    """
    found: dict[int, set[int]] = {}
    for operator in subgraph.operators:
        affine = AFFINE_OPS.get(operator.name)
        if affine is None or affine.weights >= len(operator.inputs):
            continue
        source, weights = operator.inputs[affine.input], subgraph.tensors[operator.inputs[affine.weights]]
        tensor = subgraph.tensors[source]
        if tensor.is_constant or not weights.is_constant or not tensor.shape or 0 in (*tensor.shape, *weights.shape):
            continue
        found.setdefault(source, set()).add(_channels(operator.name, tensor.shape, weights.shape))
    return {source: max(depths) for source, depths in found.items() if all(max(depths) % n == 0 for n in depths)}


def channel_means(values: Array, channels: int) -> Float64Array:
    """Return the mean of each channel of an activation, float64, shape ``(channels,)``.

    Sums of :data:`ADDED_IN_FLOAT32` values are taken in float32, on long runs of memory, and added in float64: four
    times as quick as float64 throughout, and off by a few units in the ninth digit.
    """
    rows = values.reshape(-1, channels)
    share = len(rows) // ADDED_IN_FLOAT32
    folded = rows[: share * ADDED_IN_FLOAT32].reshape(ADDED_IN_FLOAT32, share * channels)
    with np.errstate(over="ignore", invalid="ignore"):
        partial = np.add.reduce(folded, axis=0, dtype=rows.dtype).reshape(share, channels)
        rest = rows[share * ADDED_IN_FLOAT32 :]
        total: Float64Array = partial.sum(axis=0, dtype=np.float64) + rest.sum(axis=0, dtype=np.float64)
        return total / len(rows)


def output_shift(
    name: str, shape: tuple[int, ...], error: Array, means: Float64Array, options: Mapping[str, Any]
) -> Float64Array | None:
    """Return by how much errors of an op's weights shift each of its output channels on average.

    Parameters
    ----------
    name
        Of the op, one of :data:`AFFINE_OPS`.
    shape
        Of its input.
    error
        What was added to the weights by rounding, in their shape.
    means
        Of the input's channels, or of several places' channels one behind the other.
    options
        Of the op: the strides of a TRANSPOSE_CONV.

    Returns
    -------
    Shape ``(output channels,)``; None if the shapes are not those of such an op.

    """
    channels = _channels(name, shape, error.shape)
    sums = error.sum(axis=(0, 1, 2))[:, np.newaxis] if name == "DEPTHWISE_CONV_2D" else _over_places(error)
    outputs, depth = sums.shape
    groups = channels // depth
    if means.size % channels or groups * depth != channels or outputs % groups:
        return None
    of_groups = means.reshape(-1, channels).mean(axis=0).reshape(groups, depth, 1)
    shift: Float64Array = (sums.reshape(groups, outputs // groups, depth) @ of_groups).reshape(outputs)
    if name == "TRANSPOSE_CONV":  # its inputs lie a stride apart: so many weights meet none
        shift = shift / (options["stride_h"] * options["stride_w"])
    return shift


def _channels(name: str, source: tuple[int, ...], weights: tuple[int, ...]) -> int:
    """Return how many elements of an input have a mean of their own: a FULLY_CONNECTED row's, or the channels."""
    return weights[-1] if name == "FULLY_CONNECTED" else source[-1]


def _over_places(error: Array) -> Array:
    """Return sums over the window, shape ``(output channels, input channels)``."""
    sums: Array = error.reshape(error.shape[0], -1, error.shape[-1]).sum(axis=1)
    return sums

"""Magnitude pruning: the weights that matter least, by their magnitude, become zero."""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

import fbs
from qmath.errors import InputError
from qmath.types import BoolArray, Float32Array, Float64Array
from quantref.optimize.layers import Layer, chosen_layers, with_weights


class Pattern(enum.Enum):
    """Which weights fall together."""

    UNSTRUCTURED = "unstructured"
    TWO_OF_FOUR = "2:4"
    BLOCK = "block"


class Scope(enum.Enum):
    """Among which weights the least are looked for."""

    LAYER = "layer"
    GLOBAL = "global"


@dataclass(frozen=True, slots=True)
class Pruning:
    """What to prune.

    Attributes
    ----------
    sparsity
        Share of a layer's weights (or, with the scope ``GLOBAL``, of all layers') that become zero: at least 0, below
        1. With ``TWO_OF_FOUR`` it is one half, whatever stands here.
    pattern
        ``UNSTRUCTURED``: each weight for itself. ``TWO_OF_FOUR``: of four neighbours along the weights of an output
        channel the two least. ``BLOCK``: rectangles, by the mean of their magnitudes.
    scope
        Where to look for the least.
    block
        Output channels and weights of a channel that make a block; blocks at the ends may be smaller.

    """

    sparsity: float
    pattern: Pattern = Pattern.UNSTRUCTURED
    scope: Scope = Scope.LAYER
    block: tuple[int, int] = (1, 16)

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises
        ------
        InputError
            A sparsity that is not in [0, 1), or a block without elements.

        """
        if not (math.isfinite(self.sparsity) and 0 <= self.sparsity < 1):
            raise InputError(f"expected a sparsity of at least 0 and below 1, found {self.sparsity}")
        if min(self.block) < 1:
            raise InputError(f"expected blocks of at least 1x1, found {self.block[0]}x{self.block[1]}")
        if self.pattern is Pattern.TWO_OF_FOUR and self.scope is Scope.GLOBAL:
            raise InputError("expected the scope 'layer' with 2:4, which takes two of every four weights everywhere")


def prune(model: fbs.Model, pruning: Pruning, exclude: Sequence[str] = ()) -> fbs.Model:
    """Return a float model with the least of its weights set to zero.

    Depthwise filters, which are few and matter much, are pruned like any others; exclude them by name if need be.

    Raises
    ------
    InputError
        See :func:`~quantref.optimize.layers.chosen_layers`.

    """
    layers = chosen_layers(model, exclude)
    masks = masks_of([layer.by_channel() for layer in layers], pruning)
    pruned = {(layer.subgraph, layer.tensor): _masked(layer, mask) for layer, mask in zip(layers, masks, strict=True)}
    return with_weights(model, pruned)


def _masked(layer: Layer, mask: BoolArray) -> Float32Array:
    return np.asarray(layer.from_channels(np.where(mask, layer.by_channel(), np.float32(0))), np.float32)


def masks_of(weights: Sequence[Float32Array], pruning: Pruning) -> list[BoolArray]:
    """Return which weights stay, for layers given as (channels, weights of a channel).

    Of equal magnitudes, those that come first go first, so the result is the same everywhere.
    """
    if pruning.pattern is Pattern.TWO_OF_FOUR:
        return [_two_of_four(layer) for layer in weights]
    block = pruning.block if pruning.pattern is Pattern.BLOCK else (1, 1)
    scores = [_block_scores(layer, block) for layer in weights]
    if pruning.scope is Scope.GLOBAL:
        joined = _keep(np.concatenate([score.ravel() for score in scores]), pruning.sparsity)
        cuts = np.cumsum([score.size for score in scores])[:-1]
        kept = [part.reshape(score.shape) for part, score in zip(np.split(joined, cuts), scores, strict=True)]
    else:
        kept = [_keep(score.ravel(), pruning.sparsity).reshape(score.shape) for score in scores]
    return [
        np.repeat(np.repeat(mask, block[0], 0), block[1], 1)[: len(layer), : layer.shape[1]]
        for mask, layer in zip(kept, weights, strict=True)
    ]


def _keep(scores: Float64Array, sparsity: float) -> BoolArray:
    kept = np.ones(scores.size, np.bool_)
    kept[np.argsort(scores, kind="stable")[: round(sparsity * scores.size)]] = False
    return kept


def _block_scores(weights: Float32Array, block: tuple[int, int]) -> Float64Array:
    """Return the mean magnitude of each block; blocks at the ends count what they have."""
    rows = np.add.reduceat(np.abs(weights, dtype=np.float64), np.arange(0, len(weights), block[0]), axis=0)
    sums = np.add.reduceat(rows, np.arange(0, weights.shape[1], block[1]), axis=1)
    ones = np.minimum(block[0], len(weights) - np.arange(0, len(weights), block[0]))
    others = np.minimum(block[1], weights.shape[1] - np.arange(0, weights.shape[1], block[1]))
    means: Float64Array = sums / (ones[:, None] * others)
    return means


def _two_of_four(weights: Float32Array) -> BoolArray:
    """Keep the two largest of every four along a row; of a shorter group at the end, the larger half."""
    mask = np.zeros(weights.shape, np.bool_)
    for start in range(0, weights.shape[1], 4):
        group = np.abs(weights[:, start : start + 4])
        order = np.argsort(-group, axis=1, kind="stable")[:, : -(-group.shape[1] // 2)]
        np.put_along_axis(mask[:, start : start + 4], order, values=True, axis=1)
    return mask

"""Pruning and clustering while a network trains: what is done to its filters after each step.

Depthwise filters and the first and last layers' are left alone: they have few weights, each of which counts.
"""

from __future__ import annotations

import numpy as np

from examples.training.layers import Depthwise, Linear
from examples.training.network import Network
from qmath.types import Float32Array, Int64Array
from quantref.optimize import PolynomialDecay, Pruning, Scope, masks_of

#: Share of the training during which sparsity rises.
RISING = 0.5


def large_layers(network: Network) -> list[Linear]:
    """Return the layers whose filters are pruned or clustered."""
    layers = network.linear_layers
    return [layer for layer in layers[1:-1] if not isinstance(layer, Depthwise)]


class Prune:
    """Sets the smallest weights of all layers together to zero: ever more, by a cubic curve, then always as many."""

    def __init__(self, network: Network, sparsity: float) -> None:
        self.filters = [layer.weights["filter"] for layer in large_layers(network)]
        self.sparsity = sparsity

    def __call__(self, step: int, steps: int) -> None:
        """Prune to what the schedule asks for after a number of all steps."""
        schedule = PolynomialDecay(self.sparsity, begin=0, end=round(RISING * steps), frequency=1)
        rows = [filter_.reshape(-1, filter_.shape[-1]) for filter_ in self.filters]
        masks = masks_of(rows, Pruning(schedule.sparsity(step), scope=Scope.GLOBAL))
        for filter_, mask in zip(self.filters, masks, strict=True):
            filter_[~mask.reshape(filter_.shape)] = 0


class Cluster:
    """Lets weights of a layer that are near each other share a value: their mean, which goes on learning."""

    def __init__(self, network: Network, count: int, *, keep_zeros: bool = False) -> None:
        self.layers = large_layers(network)
        self.members = [nearest_of(layer.weights["filter"], count, keep_zeros=keep_zeros) for layer in self.layers]
        self.keep_zeros = keep_zeros
        self(0, 1)

    def __call__(self, step: int, steps: int) -> None:
        """Give all members of a cluster their mean, after whatever step."""
        del step, steps
        for layer, members in zip(self.layers, self.members, strict=True):
            filter_ = layer.weights["filter"]
            means = means_of(filter_.ravel(), members)
            if self.keep_zeros:
                means[0] = 0
            filter_[...] = means[members].reshape(filter_.shape)


def nearest_of(filter_: Float32Array, count: int, *, keep_zeros: bool) -> Int64Array:
    """Return the cluster of each weight: the nearest of evenly spread values; zeros are cluster 0 if they are kept.

    Further rounds of k-means would fit the many small weights better and give all clusters about as many members;
    even steps leave the outer ones few, which a compressor turns into fewer bits, and training makes up for the fit.
    """
    values = filter_.ravel()
    kept = values == 0 if keep_zeros else np.zeros(values.size, bool)
    free = values[~kept].astype(np.float64)
    centres = np.linspace(free.min(), free.max(), count - keep_zeros)
    found = np.zeros(values.size, np.int64)
    found[~kept] = np.searchsorted((centres[1:] + centres[:-1]) / 2, free) + keep_zeros
    return found


def means_of(values: Float32Array, members: Int64Array) -> Float32Array:
    """Return the mean of each cluster."""
    counts = np.bincount(members)
    return (np.bincount(members, weights=values) / np.maximum(counts, 1)).astype(np.float32)

"""Weight sharing: k-means makes the weights of a layer, or of a channel, share a few values."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

import fbs
from qmath.errors import InputError
from qmath.types import Float32Array, Float64Array
from quantref.optimize.layers import Layer, chosen_layers, with_weights

#: Rounds of k-means at most; it ends when no weight changes sides.
MAX_ROUNDS = 300


class Start(enum.Enum):
    """Where centroids start."""

    LINEAR = "linear"
    DENSITY = "density"
    KMEANS_PLUS_PLUS = "kmeans++"


class Sharing(enum.Enum):
    """Which weights share values."""

    LAYER = "layer"
    CHANNEL = "channel"


@dataclass(frozen=True, slots=True)
class Clustering:
    """What to share.

    Attributes
    ----------
    clusters
        Distinct values that are left, at most; zero counts if it is kept.
    start
        ``LINEAR``: evenly from the least weight to the largest. ``DENSITY``: evenly over the sorted weights.
        ``KMEANS_PLUS_PLUS``: at random weights, each the likelier the farther it is from those drawn before.
    sharing
        Whether values are shared within a layer, or within each of its output channels.
    preserve_zero
        Whether weights that are zero stay zero, and one of the clusters is theirs: for models that were pruned.
    seed
        Of the random start.

    """

    clusters: int
    start: Start = Start.KMEANS_PLUS_PLUS
    sharing: Sharing = Sharing.LAYER
    preserve_zero: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the number of clusters.

        Raises
        ------
        InputError
            Fewer than 2 clusters.

        """
        if self.clusters < 2:
            raise InputError(f"expected at least 2 clusters, found {self.clusters}")


def cluster(model: fbs.Model, clustering: Clustering, exclude: Sequence[str] = ()) -> fbs.Model:
    """Return a float model whose weights share values.

    Raises
    ------
    InputError
        See :func:`~quantref.optimize.layers.chosen_layers`.

    """
    rng = np.random.default_rng(clustering.seed)
    shared = {
        (layer.subgraph, layer.tensor): _shared(layer, clustering, rng) for layer in chosen_layers(model, exclude)
    }
    return with_weights(model, shared)


def _shared(layer: Layer, clustering: Clustering, rng: np.random.Generator) -> Float32Array:
    if clustering.sharing is Sharing.LAYER:
        return share(layer.values.ravel(), clustering, rng).reshape(layer.values.shape)
    return layer.from_channels(np.stack([share(channel, clustering, rng) for channel in layer.by_channel()]))


def share(weights: Float32Array, clustering: Clustering, rng: np.random.Generator) -> Float32Array:
    """Replace each weight by the centroid of its cluster.

    Parameters
    ----------
    weights
        float32, shape ``(n,)``.
    clustering
        How.
    rng
        For the random start.

    Returns
    -------
    Float32Array
        Shape ``(n,)``, at most ``clustering.clusters`` distinct values.

    """
    free = weights != 0 if clustering.preserve_zero else np.ones(weights.shape, np.bool_)
    count = clustering.clusters - (1 if clustering.preserve_zero and not free.all() else 0)
    shared = weights.copy()
    if free.any():
        values = weights[free].astype(np.float64)
        centroids = _k_means(values, _started(values, count, clustering.start, rng))
        shared[free] = centroids[_nearest(values, centroids)].astype(np.float32)
    return shared


def _started(values: Float64Array, count: int, start: Start, rng: np.random.Generator) -> Float64Array:
    """Return centroids to start from, sorted; no more than there are distinct values."""
    distinct = np.unique(values)
    if len(distinct) <= count:
        return distinct
    if start is Start.LINEAR:
        return np.linspace(distinct[0], distinct[-1], count)
    if start is Start.DENSITY:
        return np.unique(np.quantile(values, (np.arange(count) + 0.5) / count))
    chosen = [rng.choice(values)]
    distance = np.abs(values - chosen[0])
    while len(chosen) < count and distance.any():
        chosen.append(rng.choice(values, p=distance**2 / (distance**2).sum()))
        distance = np.minimum(distance, np.abs(values - chosen[-1]))
    return np.unique(chosen)


def _k_means(values: Float64Array, centroids: Float64Array) -> Float64Array:
    """Move each centroid to the mean of the values nearest to it until nothing changes; empty ones stay."""
    before = None
    for _ in range(MAX_ROUNDS):
        owner = _nearest(values, centroids)
        if before is not None and np.array_equal(owner, before):
            break
        before = owner
        counts = np.bincount(owner, minlength=len(centroids))
        sums = np.bincount(owner, values, minlength=len(centroids))
        centroids = np.sort(np.where(counts > 0, sums / np.maximum(counts, 1), centroids))
    return centroids


def _nearest(values: Float64Array, centroids: Float64Array) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """Return the index of the sorted centroid nearest to each value; half-way, the lower one."""
    return np.searchsorted((centroids[1:] + centroids[:-1]) / 2, values).astype(np.int64)

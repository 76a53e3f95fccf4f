"""Pruning and clustering of float models: fewer weights, and fewer different ones, for files that compress."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import fbs
from qmath.errors import InputError
from quantref.interpreter import ModelSource, load
from quantref.optimize.clustering import Clustering, Sharing, Start, cluster
from quantref.optimize.pruning import Pattern, Pruning, Scope, masks_of, prune
from quantref.optimize.report import LayerReport, OptimizationReport, StepReport, report_step
from quantref.optimize.schedules import ConstantSparsity, PolynomialDecay, Schedule
from quantref.optimize.sparse_encoding import store_sparsely

__all__ = [
    "Clustering",
    "ConstantSparsity",
    "LayerReport",
    "OptimizationReport",
    "Optimized",
    "Pattern",
    "PolynomialDecay",
    "Pruning",
    "Schedule",
    "Scope",
    "Sharing",
    "Start",
    "StepReport",
    "cluster",
    "masks_of",
    "optimize",
    "prune",
    "report_step",
    "store_sparsely",
]


@dataclass(frozen=True, slots=True)
class Optimized:
    """A model and how it came about.

    Attributes
    ----------
    model
        The float model with its new weights.
    report
        What it was at each step.

    """

    model: fbs.Model
    report: OptimizationReport

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain values."""
        return self.report.to_json()

    def summary(self) -> str:
        """Return a line a step."""
        return self.report.summary()

    def _repr_html_(self) -> str:
        """Return the report as a table for notebooks."""
        return self.report._repr_html_()


def optimize(
    model: ModelSource,
    *,
    prune: Pruning | float | None = None,
    cluster: Clustering | int | None = None,
    exclude: Sequence[str] = (),
    sparse_encoding: bool = False,
) -> Optimized:
    """Prune, then cluster, the weights of a float model.

    Parameters
    ----------
    model
        A float model: path, bytes or :class:`fbs.Model`. Quantize it afterwards.
    prune
        What to prune; a number is the sparsity of every layer.
    cluster
        What to share; a number is how many values each layer keeps. After pruning, zeros stay zero.
    exclude
        Regular expressions of names of weights to leave alone.
    sparse_encoding
        Whether to leave zeros out of the file where LiteRT's kernels take that.

    Raises
    ------
    InputError
        Nothing to do, a number out of range, a quantized model, or a pattern that matches no layer.

    """
    if prune is None and cluster is None and not sparse_encoding:
        raise InputError("expected something to do: prune, cluster or sparse_encoding")
    current = load(model)
    steps = [report_step("original", current)]
    if prune is not None:
        pruning = prune if isinstance(prune, Pruning) else Pruning(prune)
        current = _prune(current, pruning, exclude)
        amount = "2:4" if pruning.pattern is Pattern.TWO_OF_FOUR else f"{pruning.sparsity:.0%}"
        steps.append(report_step(f"pruned {amount}", current))
    if cluster is not None:
        clustering = (
            cluster if isinstance(cluster, Clustering) else Clustering(cluster, preserve_zero=prune is not None)
        )
        current = _cluster(current, clustering, exclude)
        steps.append(report_step(f"{clustering.clusters} clusters", current))
    if sparse_encoding:
        current, names = store_sparsely(current)
        steps.append(report_step(f"{len(names)} layers stored sparsely", current))
    return Optimized(current, OptimizationReport(tuple(steps)))


_prune, _cluster = prune, cluster

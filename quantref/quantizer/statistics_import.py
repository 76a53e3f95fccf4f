"""Statistics that other tools made: TFLiteConverter's calibrated models, AI Edge Quantizer's JSON."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np

import fbs
from qmath.errors import InputError, QuantrefError
from quantref.names import tensor_keys
from quantref.quantizer.statistics import MIN_MAX, Range, Statistics, observed_tensors, read_json

#: Observer of AI Edge Quantizer: of each sample's bounds, the moving average.
MOVING_AVERAGE = "moving-average"


def statistics_from_calibrated(model: fbs.Model) -> Statistics:
    """Take the ranges that TFLiteConverter's calibration writes into a float model (``_experimental_calibrate_only``).

    Parameters
    ----------
    model
        Its float tensors that are not constant carry ``quantization.min`` and ``max``, one entry each.

    Raises
    ------
    InputError
        No tensor carries a range, or a range is not one minimum and one maximum.

    """
    subgraph = model.subgraphs[0]
    ranges = {}
    keys = tensor_keys(subgraph)
    for index in observed_tensors(subgraph):
        key, stored = keys[index], subgraph.tensors[index].quantization
        if stored is None or stored.min is None or stored.max is None or stored.min.size == 0:
            continue
        ranges[key] = _range(key, stored.min, stored.max)
    if not ranges:
        raise InputError("expected a calibrated model, found one without ranges")
    return Statistics(ranges, observer=MIN_MAX)


def load_aeq_statistics(path: str | os.PathLike[str]) -> Statistics:
    """Read the calibration result that AI Edge Quantizer saves as JSON.

    The file holds decimal numbers of float32 values, which are found again exactly.

    Raises
    ------
    InputError
        There is no such file, or it holds something else.

    """
    try:
        values = read_json(path)
        if not isinstance(values, Mapping) or not values:
            raise InputError("expected a minimum and a maximum by tensor name, found something else")
        return Statistics({key: _aeq_range(key, entry) for key, entry in values.items()}, observer=MOVING_AVERAGE)
    except QuantrefError as error:
        raise error.within(str(path)) from None


def _aeq_range(name: str, entry: object) -> Range:
    if not isinstance(entry, Mapping) or not {"min", "max"} <= set(entry):
        raise InputError(f"expected a minimum and a maximum of tensor {name!r}, found {entry!r:.60}")
    return _range(name, entry["min"], entry["max"])


def _range(name: str, minimum: object, maximum: object) -> Range:
    try:
        low, high = np.asarray(minimum, np.float64), np.asarray(maximum, np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"expected numbers as the range of tensor {name!r}, found others") from error
    if low.size != 1 or high.size != 1:
        raise InputError(f"expected one minimum and one maximum of tensor {name!r}, found {low.size} and {high.size}")
    return Range(low.reshape(-1)[0], high.reshape(-1)[0])

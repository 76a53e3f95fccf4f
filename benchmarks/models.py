"""The models at hand: the digits models of the demo always, those of ``../shared/models`` if they are there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import numpy as np

import quantref
from qmath.errors import InputError
from qmath.types import Array
from quantref.samples import random_samples

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = (ROOT / "quantref" / "data", ROOT.parent / "shared" / "models")


@dataclass(frozen=True, slots=True)
class BenchmarkModel:
    """A model to measure; its name is the file's, without the ending."""

    path: Path

    @property
    def name(self) -> str:
        """Name in tables."""
        return self.path.stem

    def inputs(self, batch: int = 1) -> list[Array]:
        """Return random inputs, the same every time: samples one behind the other along axis 0.

        Raises
        ------
        InputError
            The model has an input whose first dimension is not a batch of 1.

        """
        model = quantref.load(self.path)
        samples = random_samples(model, batch)
        if batch == 1:
            return samples[0]
        shapes = [array.shape for array in samples[0]]
        if any(shape[:1] != (1,) for shape in shapes):
            raise InputError(f"{self.name}: expected inputs with a batch of 1 in front, found shapes {shapes}")
        return [np.concatenate(column) for column in zip(*samples, strict=True)]


def models_at_hand(patterns: Sequence[str] = ()) -> list[BenchmarkModel]:
    """Return the models whose names match one of the patterns (``"kws*"``), or all.

    Raises
    ------
    InputError
        A pattern matches nothing.

    """
    found = [BenchmarkModel(path) for folder in FOLDERS for path in sorted(folder.rglob("*.tflite"))]
    for pattern in patterns:
        if not any(fnmatch(model.name, pattern) for model in found):
            names = ", ".join(model.name for model in found)
            raise InputError(f"expected a model among {names}, found {pattern!r}")
    return [model for model in found if not patterns or any(fnmatch(model.name, pattern) for pattern in patterns)]

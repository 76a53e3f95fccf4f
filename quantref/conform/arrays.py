"""The outputs of a device by name and invocation, however it gave them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence

from qmath.errors import InputError
from qmath.types import Array
from quantref.conform.trial import Arrays, Invocations
from quantref.npz import load_npz
from quantref.vectors.suite import split_invocations

_POSITION = re.compile(r"arr_(\d+)")


def load_invocations(path: str | os.PathLike[str], expected: Invocations) -> Invocations:
    """Read the outputs that a device wrote.

    Parameters
    ----------
    path
        An ``.npz`` with a key an output, its name; ``number/name`` for more than one invocation. Where NumPy named
        the arrays itself (``arr_0`` ...) they are taken in order.
    expected
        The names, in order, of each invocation.

    Raises
    ------
    InputError
        The file cannot be read, or lacks an output.

    """
    parts = split_invocations(load_npz(path), len(expected), str(path))
    return tuple(named(_in_order(part), list(names)) for part, names in zip(parts, expected, strict=True))


def named(outputs: Arrays | Sequence[Array], names: Sequence[str]) -> dict[str, Array]:
    """Return outputs by name, in order.

    Raises
    ------
    InputError
        One is missing, or there are more.

    """
    if not isinstance(outputs, Mapping):
        if len(outputs) != len(names):
            raise InputError(f"expected {len(names)} outputs ({', '.join(names)}), found {len(outputs)}")
        return dict(zip(names, outputs, strict=True))
    if set(outputs) != set(names):
        listed = ", ".join(map(repr, outputs)) or "none"
        raise InputError(f"expected outputs called {', '.join(map(repr, names))}, found {listed}")
    return {name: outputs[name] for name in names}


def _in_order(arrays: Mapping[str, Array]) -> Arrays | Sequence[Array]:
    """Return arrays that nobody named as a sequence."""
    if arrays and all(_POSITION.fullmatch(key) for key in arrays):
        return [arrays[key] for key in sorted(arrays, key=lambda key: int(key[len("arr_") :]))]
    return arrays

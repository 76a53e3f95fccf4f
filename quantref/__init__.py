"""quantref: the golden reference for TensorFlow Lite (LiteRT) quantization, bit-exact, in pure NumPy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quantref.ownership import check_packages

check_packages()

from fbs import Model, save  # noqa: E402 - only after the check
from kernels.profiles import PROFILES, Profile  # noqa: E402
from qmath.errors import (  # noqa: E402
    InputError,
    ModelError,
    QuantrefError,
    RuntimeUnavailableError,
    SpecError,
    UnsupportedError,
)
from quantref.api import run  # noqa: E402
from quantref.interpreter import Interpreter, load  # noqa: E402

if TYPE_CHECKING:
    from quantref.verify import VerifyResult, verify

__version__ = "0.1.0"

#: Names that are imported when first used, so that ``import quantref`` stays quick.
_LAZY = {"verify": "quantref.verify", "VerifyResult": "quantref.verify"}

__all__ = [
    "PROFILES",
    "InputError",
    "Interpreter",
    "Model",
    "ModelError",
    "Profile",
    "QuantrefError",
    "RuntimeUnavailableError",
    "SpecError",
    "UnsupportedError",
    "VerifyResult",
    "load",
    "run",
    "save",
    "verify",
]


def __getattr__(name: str) -> Any:
    """Import a lazy name."""
    if name in _LAZY:
        import importlib  # noqa: PLC0415 - only when needed

        value = getattr(importlib.import_module(_LAZY[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

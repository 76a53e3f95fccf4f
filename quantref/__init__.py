"""quantref: the golden reference for TensorFlow Lite (LiteRT) quantization, bit-exact, in pure NumPy."""

from __future__ import annotations

from importlib import import_module
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
from quantref.check import Finding, Findings, Severity, check  # noqa: E402
from quantref.explain import Explanation, explain  # noqa: E402
from quantref.interpreter import Interpreter, load  # noqa: E402
from quantref.optimize import Clustering, Optimized, Pruning, optimize  # noqa: E402
from quantref.partition import Partition, partition  # noqa: E402
from quantref.trace import Trace, trace  # noqa: E402
from quantref.verify import VerifyResult, verify  # noqa: E402
from quantref.verify_outputs import verify_outputs  # noqa: E402

if TYPE_CHECKING:
    from quantref import vectors
    from quantref.inference import InferResult, Separation, infer_profile, separate_profiles
    from quantref.quantizer import (
        AccuracyReport,
        QuantizationPlan,
        Recipe,
        Rule,
        SensitivityReport,
        Statistics,
        calibrate,
        compare_quantized,
        leave_one_float,
    )
    from quantref.quantizer.quantize import quantize

__version__ = "0.1.0"

__all__ = [
    "PROFILES",
    "AccuracyReport",
    "Clustering",
    "Explanation",
    "Finding",
    "Findings",
    "InferResult",
    "InputError",
    "Interpreter",
    "Model",
    "ModelError",
    "Optimized",
    "Partition",
    "Profile",
    "Pruning",
    "QuantizationPlan",
    "QuantrefError",
    "Recipe",
    "Rule",
    "RuntimeUnavailableError",
    "SensitivityReport",
    "Separation",
    "Severity",
    "SpecError",
    "Statistics",
    "Trace",
    "UnsupportedError",
    "VerifyResult",
    "calibrate",
    "check",
    "compare_quantized",
    "explain",
    "infer_profile",
    "leave_one_float",
    "load",
    "optimize",
    "partition",
    "quantize",
    "run",
    "save",
    "separate_profiles",
    "trace",
    "vectors",
    "verify",
    "verify_outputs",
]

#: Names that are looked up when they are first used, by module: most programs need few of them, and none at once.
_LATER = {
    "quantref.inference": (
        "InferResult",
        "Separation",
        "infer_profile",
        "separate_profiles",
    ),
    "quantref.quantizer": (
        "AccuracyReport",
        "QuantizationPlan",
        "Recipe",
        "Rule",
        "SensitivityReport",
        "Statistics",
        "calibrate",
        "compare_quantized",
        "leave_one_float",
        "quantize",
    ),
    "quantref.vectors": ("vectors",),
}


def __getattr__(name: str) -> Any:
    for module, names in _LATER.items():
        if name in names:
            found = import_module(module)
            value = found if module == f"quantref.{name}" else getattr(found, name)
            globals()[name] = value
            return value
    msg = f"module 'quantref' has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

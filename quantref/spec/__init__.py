"""The quantization spec as data: what each op demands of the types and the parameters of its operands.

:data:`EIGHT_BIT` is the 8-bit quantization specification of LiteRT, :data:`SIXTEEN_BY_EIGHT` its counterpart with int16
activations and int8 weights, :data:`LEGACY` what is left of the uint8 scheme before it. Ops that the public
specification does not name are here as their kernels' Prepare functions have them.
"""

from quantref.spec.tables import EIGHT_BIT, LEGACY, SCHEMES, SIXTEEN_BY_EIGHT, Scheme, scheme_of, spec_of
from quantref.spec.types import (
    BiasScale,
    FixedOutput,
    Granularity,
    Operand,
    OpSpec,
    PowerOfTwo,
    Relation,
    Role,
    SameScale,
    ZeroPoint,
)

__all__ = [
    "EIGHT_BIT",
    "LEGACY",
    "SCHEMES",
    "SIXTEEN_BY_EIGHT",
    "BiasScale",
    "FixedOutput",
    "Granularity",
    "OpSpec",
    "Operand",
    "PowerOfTwo",
    "Relation",
    "Role",
    "SameScale",
    "Scheme",
    "ZeroPoint",
    "scheme_of",
    "spec_of",
]

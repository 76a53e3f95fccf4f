"""The spec as data agrees with itself, with the kernels, and with the arithmetic of choosing parameters."""

from __future__ import annotations

import pytest

from kernels.engine.registry import registry
from qmath.types import DType
from quantref.spec import (
    EIGHT_BIT,
    LEGACY,
    SCHEMES,
    SIXTEEN_BY_EIGHT,
    BiasScale,
    FixedOutput,
    PowerOfTwo,
    Role,
    SameScale,
    Scheme,
    ZeroPoint,
    scheme_of,
    spec_of,
)


def test_every_op_has_a_kernel() -> None:
    for table in SCHEMES.values():
        assert set(table) <= set(registry())


def test_schemes_are_told_by_the_type_of_activations() -> None:
    assert [scheme_of(dtype) for dtype in (DType.INT8, DType.INT16, DType.UINT8, DType.FLOAT32)] == [
        Scheme.EIGHT_BIT,
        Scheme.SIXTEEN_BY_EIGHT,
        Scheme.LEGACY,
        None,
    ]
    assert set(SIXTEEN_BY_EIGHT) | set(LEGACY) <= set(EIGHT_BIT)
    assert spec_of("HARD_SWISH", Scheme.SIXTEEN_BY_EIGHT) is None


@pytest.mark.parametrize("scheme", list(Scheme))
def test_operands_are_consistent(scheme: Scheme) -> None:
    activations = {Scheme.EIGHT_BIT: DType.INT8, Scheme.SIXTEEN_BY_EIGHT: DType.INT16, Scheme.LEGACY: DType.UINT8}
    for spec in SCHEMES[scheme].values():
        main = spec.input(spec.main)
        assert main.dtypes[0] is activations[scheme], spec.op
        assert (main.zero_point is ZeroPoint.ZERO) == (scheme is Scheme.SIXTEEN_BY_EIGHT), spec.op
        assert spec.source
        assert spec.to_json()["op"] == spec.op
        for relation in spec.relations:
            if isinstance(relation, BiasScale):
                roles = [spec.input(slot).role for slot in (relation.input, relation.weights, relation.bias)]
                assert roles == [Role.ACTIVATION, Role.WEIGHTS, Role.BIAS]
            elif isinstance(relation, PowerOfTwo):
                assert spec.input(relation.slot).role is Role.STATE
            elif isinstance(relation, SameScale):
                assert not spec.strict, spec.op


def test_fixed_outputs_cover_what_the_ops_give() -> None:
    """Of LOGISTIC and SOFTMAX 0 to 1, of TANH -1 to 1, of LOG_SOFTMAX -16 to 0: in codes, without one left over."""
    ranges = {
        "LOGISTIC": (0, 1),
        "SOFTMAX": (0, 1),
        "TANH": (-1, 1),
        "L2_NORMALIZATION": (-1, 1),
        "LOG_SOFTMAX": (-16, 0),
    }
    for scheme in (Scheme.EIGHT_BIT, Scheme.LEGACY):
        for op, (low, high) in ranges.items():
            spec = spec_of(op, scheme)
            assert spec is not None
            (relation,) = [relation for relation in spec.relations if isinstance(relation, FixedOutput)]
            dtype, scale, zero_point = relation.params[0]
            lowest, highest = (scale * (code - zero_point) for code in (dtype.min, dtype.max))
            assert low <= lowest < low + 2 * scale
            assert high - scale <= highest <= high

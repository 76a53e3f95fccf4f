"""A case as a runner and a judge see it: plain data that can travel to another process or machine."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from qmath.types import Array

if TYPE_CHECKING:
    from quantref.vectors.suite import SuiteCase

#: The arrays of one invocation, by tensor name.
Arrays: TypeAlias = Mapping[str, Array]
#: One mapping an invocation.
Invocations: TypeAlias = tuple[Arrays, ...]


@dataclass(frozen=True, slots=True)
class Trial:
    """One case, with all that it takes to run and to judge it.

    Attributes
    ----------
    id, op, dtypes, kind, aims
        As in the suite: a unique name, the op, its element types (the kind, where it has none), ``"op"``,
        ``"model"`` or ``"negative"``, and what the case hits.
    model
        Bytes of the ``.tflite`` file.
    inputs
        What to feed, one mapping an invocation.
    profile
        The profile whose outputs are expected.
    expectations
        The outputs of every profile that the suite holds for the case, one mapping an invocation.
    expected_error
        For a negative case: the class of quantref's error.
    refusing
        The profiles of the suite without outputs: those that refuse the model.

    """

    id: str
    op: str
    dtypes: str
    kind: str
    aims: tuple[str, ...]
    model: bytes
    inputs: Invocations
    profile: str
    expectations: Mapping[str, Invocations]
    expected_error: str | None = None
    refusing: tuple[str, ...] = ()

    @property
    def negative(self) -> bool:
        """Whether a device has to refuse the case."""
        return self.kind == "negative"

    @property
    def expected(self) -> Invocations | None:
        """The outputs that a device has to give; None if the suite has none for the profile."""
        return self.expectations.get(self.profile)

    @property
    def size(self) -> int:
        """Elements that go in and come out: what makes a case small."""
        given = sum(array.size for arrays in self.inputs for array in arrays.values())
        return given + sum(array.size for arrays in self.expected or () for array in arrays.values())

    @property
    def memory(self) -> int:
        """Bytes of the model, the inputs and the outputs of all profiles, shared ones once."""
        held = {id(many): many for many in (self.inputs, *self.expectations.values())}
        arrays = (array for many in held.values() for arrays in many for array in arrays.values())
        return len(self.model) + sum(array.nbytes for array in arrays)


def trial_of(case: SuiteCase, profile: str, profiles: Collection[str] = ()) -> Trial:
    """Read a case of a suite of some profiles, to be judged by one; those that share a file of outputs share arrays."""
    read: dict[str, Invocations] = {}
    expectations = {}
    for name, file in case.entry.profiles.items():
        if file not in read:
            read[file] = tuple(case.expected(name))
        expectations[name] = read[file]
    return Trial(
        id=case.id,
        op=case.op,
        dtypes=case.dtypes or case.kind,
        kind=case.kind,
        aims=case.aims,
        model=case.model_bytes(),
        inputs=tuple(case.inputs()),
        profile=profile,
        expectations=expectations,
        expected_error=case.expected_error,
        refusing=tuple(name for name in profiles if name not in expectations),
    )

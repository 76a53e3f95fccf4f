"""Goes through a model: what is wrong with the file, then operator by operator, each family of rules in turn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from itertools import chain
from pathlib import Path

import fbs
from kernels.profiles import PROFILES, Profile, profile_named
from qmath.errors import InputError
from qmath.types import DType
from quantref.check import ModelSource
from quantref.checks import biases, dead, headroom, multipliers, operands, relations, scales, structure, versions
from quantref.checks import runtimes as single_runtimes
from quantref.checks.context import Check, OpContext, Scope
from quantref.checks.finding import Finding, Findings, Severity
from quantref.checks.rule import Effect
from quantref.checks.rules import rule_named

#: Rules about parameters; where one of them finds an error, what is derived from parameters means nothing.
_PARAMETERS: tuple[Check, ...] = (operands.operands, biases.biases, relations.relations)
#: Rules about what is derived from parameters.
_DERIVED: tuple[Check, ...] = (multipliers.multipliers, headroom.headroom, dead.dead)


def examine(model: ModelSource, runtimes: str | Iterable[str] | None, ignore: str | Iterable[str]) -> Findings:
    """Check a model; see :func:`quantref.check.check`."""
    loaded, file = _load(model)
    scope = _scope(file, runtimes)
    left_out = {rule_named(name).id for name in ([ignore] if isinstance(ignore, str) else ignore)}
    found = fbs.examine(loaded)
    items = chain(_of_model(loaded, scope, found), _of_operators(loaded, scope, found))
    kept = [item for item in items if item.rule.id not in left_out and _minded(item, scope)]
    order = sorted(kept, key=_order)
    return Findings(file, sum(len(graph.operators) for graph in loaded.subgraphs), tuple(order))


def _load(model: ModelSource) -> tuple[fbs.Model, str]:
    if isinstance(model, fbs.Model):
        return model, str(model.path or "model")
    if isinstance(model, bytes | bytearray | memoryview):
        return fbs.read(bytes(model)), "model"
    path = Path(model)
    if not path.is_file():
        raise InputError(f"expected a file, found none at {path}")
    return fbs.read(path), str(path)


def _scope(file: str, runtimes: str | Iterable[str] | None) -> Scope:
    if runtimes is None:
        return Scope(file, tuple(PROFILES.values()), named=False)
    names = [runtimes] if isinstance(runtimes, str) else list(runtimes)
    profiles: list[Profile] = [profile_named(name) for name in names]
    return Scope(file, tuple(profiles), named=True)


def _minded(item: Finding, scope: Scope) -> bool:
    """Whether one of the runtimes that matter minds; what none minds in particular is told anyway."""
    return bool(item.runtimes) or not item.rule.runtimes or not scope.named


def _order(item: Finding) -> tuple[int, int, str, tuple[str, ...], str]:
    place = item.location
    subgraph = -1 if place.subgraph is None else place.subgraph
    op = -1 if place.op_index is None else place.op_index
    return subgraph, op, item.rule.id, place.tensors, item.found


def _of_model(model: fbs.Model, scope: Scope, found: Collection[fbs.Finding]) -> Iterator[Finding]:
    yield from structure.structure(model, scope, tuple(found))
    for index, graph in enumerate(model.subgraphs):
        for _, item in scales.scales(graph, index, scope):
            yield item


def _of_operators(model: fbs.Model, scope: Scope, found: Collection[fbs.Finding]) -> Iterator[Finding]:
    for index, graph in enumerate(model.subgraphs):
        bad_tensors, bad_operators = _malformed(index, graph, scope, found)
        readers = Counter(tensor for op in graph.operators for tensor in set(op.inputs))
        alike: dict[tuple[fbs.OperatorCode, DType | None], list[OpContext]] = {}
        for number, operator in enumerate(graph.operators):
            if number in bad_operators:
                continue
            op = OpContext(scope, index, number, graph, fbs.view(graph, operator), readers)
            if bad_tensors.isdisjoint({*operator.inputs, *operator.outputs, *operator.intermediates}):
                alike.setdefault((operator.code, op.main.dtype if op.main else None), []).append(op)
                yield from _of_operator(op)
        for ops in alike.values():
            yield from versions.versions(ops[0], len(ops))


def _malformed(
    index: int, graph: fbs.Subgraph, scope: Scope, found: Collection[fbs.Finding]
) -> tuple[set[int], set[int]]:
    """Return the tensors and the operators of a subgraph that nothing can be derived from."""
    here = [item for item in found if item.place.subgraph == index]
    wrong = [item for item in here if item.wrong or item.subject is fbs.Subject.ZERO_POINT]
    tensors = {item.place.tensor for item in wrong if item.place.tensor is not None}
    tensors |= {number for number, item in scales.scales(graph, index, scope) if item.severity is Severity.ERROR}
    operators = {item.place.operator for item in wrong if item.place.operator is not None}
    count = len(graph.tensors)
    operators |= {
        number
        for number, op in enumerate(graph.operators)
        if not all(-1 <= tensor < count for tensor in (*op.inputs, *op.outputs, *op.intermediates))
    }
    return tensors, operators


def _of_operator(op: OpContext) -> Iterator[Finding]:
    """Check one operator: parameters first, then what follows from them, at last what single runtimes say."""
    found = [item for family in _PARAMETERS for item in family(op)]
    if not any(item.severity is Severity.ERROR for item in found):
        found += [item for family in _DERIVED for item in family(op)]
    if not any(item.rule.effect is Effect.REFUSES or item.severity is Severity.ERROR for item in found):
        found += single_runtimes.runtimes(op)
    if not any(_explains_refusal(item) for item in found):
        found += single_runtimes.contract(op)
    yield from found


def _explains_refusal(item: Finding) -> bool:
    """Whether a finding tells why LiteRT's reference kernels would refuse the op."""
    refused = item.rule.effect in {Effect.REFUSES, Effect.UNDEFINED} and "litert-reference" in item.rule.runtimes
    return refused or item.severity is Severity.ERROR

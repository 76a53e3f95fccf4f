"""Whether a model makes sense, before anything runs: indices, order of execution, calls, signatures.

What the runtime refuses, and what no executor could follow, raises; what is odd but runs is returned as
findings. The rules follow ``tflite/core/interpreter_builder.cc`` and ``tflite/core/subgraph.cc``. That the
file itself is sound has been checked when it was read; the rules for one tensor are in
:mod:`fbs.validate_tensor`. Nothing larger than the file is allocated.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from fbs.findings import Finding, Findings, Subject
from fbs.model import Model, Operator, Subgraph, Tensor
from fbs.options import table_of
from fbs.validate_tensor import check_tensor
from qmath.errors import ModelError, QuantrefError

#: Calls of subgraphs inside each other: each takes stack to run, in the runtime as here; no model comes near it.
MAX_CALL_DEPTH = 32
#: Sparse tensors that share a buffer, on average; in honest files each has its own, or one a subgraph.
MAX_SHARING = 64
_NOT_IN_FILES = frozenset({"DELEGATE", "PLACEHOLDER_FOR_GREATER_OP_CODES"})


def validate(model: Model) -> tuple[Finding, ...]:
    """Check a model.

    Returns
    -------
    tuple of Finding
        What is odd but harmless, in the order of the model.

    Raises
    ------
    ModelError
        Something contradicts the format or itself; the message says what and where.

    """
    findings = Findings()
    try:
        _check(model, findings)
    except QuantrefError as error:
        if model.path is not None:
            raise error.within(str(model.path)) from None
        raise
    return tuple(findings.items)


def examine(model: Model) -> tuple[Finding, ...]:
    """Check a model to its end: what :func:`validate` would raise is a finding, too, and marked as wrong.

    Returns
    -------
    tuple of Finding
        What is wrong and what is odd, in the order of the model.

    """
    findings = Findings(everything=True)
    _check(model, findings)
    return tuple(findings.items)


def _check(model: Model, findings: Findings) -> None:
    with findings.about(Subject.STRUCTURE):
        if not model.subgraphs:
            msg = "expected a subgraph, found none"
            raise ModelError(msg)
        _check_sparse_buffers(model)
    for index, subgraph in enumerate(model.subgraphs):
        name = f"subgraph {index}" + (f" ({subgraph.name!r})" if subgraph.name else "")
        with findings.within(name, subgraph=index):
            _check_subgraph(model, subgraph, findings)
    with findings.about(Subject.STRUCTURE):
        _check_calls(model)
    _check_signatures(model, findings)


def _check_sparse_buffers(model: Model) -> None:
    """Check that few sparse tensors share a buffer: each takes a look at all of it, however small the file."""
    sparse = [tensor for subgraph in model.subgraphs for tensor in subgraph.tensors if tensor.sparsity is not None]
    looked_at = [tensor.buffer.data for tensor in sparse if tensor.buffer.data is not None]
    in_file = {id(data): data.size for data in looked_at}
    if sum(data.size for data in looked_at) > MAX_SHARING * sum(in_file.values()):
        msg = f"expected at most {MAX_SHARING} sparse tensors a buffer"
        raise ModelError(f"{msg}, found {len(looked_at)} that share {len(in_file)}")


def _check_subgraph(model: Model, subgraph: Subgraph, findings: Findings) -> None:
    for index, tensor in enumerate(subgraph.tensors):
        with findings.within(f"tensor {index} ({tensor.name!r})", tensor=index):
            if model.buffers and tensor.buffer is model.buffers[0] and tensor.buffer.data is not None:
                msg = "expected the model's first buffer to be empty, as it stands for no data; found data"
                raise ModelError(msg)
            check_tensor(tensor, findings)
    count = len(subgraph.tensors)
    for indices, what in ((subgraph.inputs, "input"), (subgraph.outputs, "output")):
        with findings.about(Subject.STRUCTURE):
            _check_indices(indices, count, what)
    if len(set(subgraph.inputs)) < len(subgraph.inputs):
        findings.add("lists an input twice")
    for index, operator in enumerate(subgraph.operators):
        with findings.within(f"operator {index} ({operator.name})", operator=index):
            _check_operator(operator, count, len(model.subgraphs), findings)
    if _indices_hold(subgraph):
        with findings.about(Subject.STRUCTURE):
            _check_order(subgraph, findings)


def _indices_hold(subgraph: Subgraph) -> bool:
    """Whether every index is one of a tensor: if not, that has been found, and no order can be followed."""
    operators = subgraph.operators
    indices = [*subgraph.outputs, *(number for op in operators for number in (*op.inputs, *op.outputs) if number != -1)]
    return all(0 <= number < len(subgraph.tensors) for number in indices)


def _check_indices(indices: Iterable[int], count: int, what: str, *, optional: bool = False) -> None:
    for index in indices:
        if not 0 <= index < count and not (optional and index == -1):
            also = ", or -1 for none" if optional else ""
            msg = f"expected each {what} to be one of {count} tensors{also}; found {index}"
            raise ModelError(msg)


def _check_operator(operator: Operator, tensors: int, subgraphs: int, findings: Findings) -> None:
    """Check one operator by itself."""
    if not operator.name or operator.code.builtin in _NOT_IN_FILES or operator.version < 1:
        msg = "expected an operator with a name and a version from 1"
        raise ModelError(f"{msg}, found {operator.code.builtin} {operator.name!r} version {operator.version}")
    _check_indices(operator.inputs, tensors, "input", optional=True)
    _check_indices(operator.outputs, tensors, "output")
    _check_indices(operator.intermediates, tensors, "intermediate", optional=True)
    if len(operator.mutating_variable_inputs) not in {0, len(operator.inputs)}:
        found = len(operator.mutating_variable_inputs)
        findings.add(f"says of {found} inputs whether they are mutated, and has {len(operator.inputs)}")
    expected = table_of(operator.code.builtin)
    for options in (operator.options, operator.options_2):
        if options is None or options.table == expected:
            continue
        if expected is not None:
            msg = f"expected options {expected}, found {options.table}"
            raise ModelError(msg)
        findings.add(f"has options {options.table}, though the operator takes none")
    for name, callee in _calls(operator):
        absent = callee == -1 and name == "decomposition_subgraph_index"
        if not 0 <= callee < subgraphs and not absent:
            msg = f"expected {name} to be one of {subgraphs} subgraphs, found {callee}"
            raise ModelError(msg)


def _calls(operator: Operator) -> Iterator[tuple[str, int]]:
    """Yield the options that name subgraphs, and the subgraphs."""
    for options in (operator.options, operator.options_2):
        for name, value in () if options is None else options.items():
            if "subgraph" in name:
                yield name, value
            elif name == "called_computations":
                yield from ((name, callee) for callee in value or ())


def _check_order(subgraph: Subgraph, findings: Findings) -> None:
    """Check that each tensor is written once at most, and before it is read: hence that there is no cycle."""
    tensors = subgraph.tensors
    inputs = frozenset(subgraph.inputs)
    ready = set(inputs)
    ready.update(index for index, tensor in enumerate(tensors) if tensor.is_variable or tensor.is_constant)
    ready.update(index for index, tensor in enumerate(tensors) if 0 in tensor.shape)
    written: set[int] = set()
    for index, operator in enumerate(subgraph.operators):
        with findings.within(f"operator {index} ({operator.name})", operator=index):
            for number in operator.inputs:
                if number != -1 and number not in ready:
                    msg = f"expected input {number} ({tensors[number].name!r}) to hold a value"
                    raise ModelError(f"{msg}, found that no operator before this one writes it")
            for number in operator.outputs:
                _check_writable(tensors[number], number, written, inputs)
                written.add(number)
        ready.update(operator.outputs)
    for number in subgraph.outputs:
        if number not in ready:
            msg = f"expected output {number} ({tensors[number].name!r}) to hold a value, found that nothing writes it"
            raise ModelError(msg)


def _check_writable(tensor: Tensor, number: int, written: Collection[int], inputs: Collection[int]) -> None:
    if number in written:
        holds = "an earlier output"
    elif tensor.is_constant:
        holds = "a constant"
    elif number in inputs:
        holds = "an input of the subgraph"
    else:
        return
    msg = f"expected output {number} ({tensor.name!r}) to be written by one operator alone, found it is {holds}"
    raise ModelError(msg)


def _check_calls(model: Model) -> None:
    """Check that no subgraph calls itself, be it through others, and that calls do not lie too deep in each other.

    Strike out the subgraphs that call none that is left, and keep how many calls lie below each.
    """
    called = [
        {
            callee
            for operator in subgraph.operators
            for _, callee in _calls(operator)
            if 0 <= callee < len(model.subgraphs)
        }
        for subgraph in model.subgraphs
    ]
    callers: list[list[int]] = [[] for _ in called]
    for caller, callees in enumerate(called):
        for callee in callees:
            callers[callee].append(caller)
    open_calls = [len(callees) for callees in called]
    done = [index for index, count in enumerate(open_calls) if count == 0]
    depth = [0] * len(called)
    for index in done:
        for caller in callers[index]:
            depth[caller] = max(depth[caller], depth[index] + 1)
            open_calls[caller] -= 1
            if open_calls[caller] == 0:
                done.append(caller)
    if len(done) < len(called):
        circle = sorted(set(range(len(called))) - set(done))
        msg = f"expected subgraphs that do not call themselves, found a circle of calls among: {circle[:10]}"
        raise ModelError(msg)
    deepest = max(depth, default=0)
    if deepest > MAX_CALL_DEPTH:
        msg = f"expected at most {MAX_CALL_DEPTH} calls of subgraphs inside each other"
        raise ModelError(f"{msg}, found {deepest} below subgraph {depth.index(deepest)}")


def _check_signatures(model: Model, findings: Findings) -> None:
    for index, signature in enumerate(model.signatures):
        with findings.within(f"signature {index} ({signature.key!r})"):
            if signature.subgraph_index >= len(model.subgraphs):
                msg = f"expected one of {len(model.subgraphs)} subgraphs, found {signature.subgraph_index}"
                raise ModelError(msg)
            subgraph = model.subgraphs[signature.subgraph_index]
            for what, pairs, own in (
                ("input", signature.inputs, subgraph.inputs),
                ("output", signature.outputs, subgraph.outputs),
            ):
                _check_indices((number for _, number in pairs), len(subgraph.tensors), what)
                known = set(own)
                strangers = [name for name, number in pairs if number not in known]
                if strangers:
                    findings.add(f"names {what}s that the subgraph does not have: {', '.join(strangers[:10])}")
                if len(dict(pairs)) < len(pairs):
                    findings.add(f"uses a name for two {what}s")
    keys = [signature.key for signature in model.signatures]
    if len(set(keys)) < len(keys):
        findings.add("two signatures have the same key")

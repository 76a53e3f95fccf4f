"""A drop-in for ``tf.lite.Interpreter`` that runs a model under a profile, bit for bit."""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from os import PathLike
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

import numpy as np
import numpy.typing as npt

import fbs
from kernels.engine.contract import checked_shape
from kernels.engine.threads import Team
from kernels.engine.types import Inputs, Outputs
from kernels.profiles import LITERT_REFERENCE, Profile
from qmath.errors import InputError, UnsupportedError
from qmath.stages import Note, silent
from qmath.types import Array
from quantref.blas_threads import one_blas_thread
from quantref.details import tensor_details
from quantref.execution import Graph, Session
from quantref.experimental import Experimental, profile_for
from quantref.locations import located
from quantref.op_times import OpTimes, op_times
from quantref.samples import as_array
from quantref.shapes import leaves_shapes_open, shapes_to_come
from quantref.signatures import SignatureRunner

if TYPE_CHECKING:
    from typing_extensions import Unpack

#: How much an interpreter plans ahead.
PLANS = ("fast", "quick")
#: More threads than this are taken for a mistake.
MOST_THREADS = 256

ModelSource: TypeAlias = "fbs.Model | bytes | str | PathLike[str]"


def load(source: ModelSource) -> fbs.Model:
    """Read a model from a path or from bytes; a model is returned as it is.

    Raises
    ------
    InputError
        There is no such file.
    ModelError
        The file is damaged.
    UnsupportedError
        The file uses parts of the format that are not covered.

    """
    if isinstance(source, fbs.Model):
        return source
    if isinstance(source, bytes | bytearray | memoryview):
        model = fbs.read(bytes(source))
    else:
        if not isinstance(source, str | PathLike):
            raise InputError(f"expected a path, the bytes of a file or a model, found {source!r}")
        if not os.path.isfile(source):  # noqa: PTH113 - Path.is_file raises where a path is too long
            raise InputError(f"expected a file, found none at {os.fspath(source)}")
        model = fbs.read(source)
    with located():  # the check itself names the file
        fbs.validate(model)
    return model


class Interpreter:
    """Runs a model under a profile.

    The methods of ``tf.lite.Interpreter``; beyond them, :meth:`get_tensor` takes any tensor index, and
    :meth:`run_op` runs one op on arrays of your own.

    Parameters
    ----------
    model
        A path, the bytes of a file, or a :class:`fbs.Model`.
    profile
        Which runtime's arithmetic: a name or a value of :data:`kernels.profiles.PROFILES`.
    plan
        ``"fast"``: an op that runs often is worth a search for its quickest form. ``"quick"``: never search, for a
        model that runs a few times.
    model_path, model_content
        ``tf.lite.Interpreter``'s names for ``model``.
    num_threads
        Threads that share the work of an op: its images, or the rows of one. None and -1 stand for one, which gives
        times that repeat; results never depend on it. BLAS runs on one thread of its own, whatever it is set to.
    experimental
        Arguments that ``tf.lite.Interpreter`` has beside these: see :mod:`quantref.experimental`. Its
        ``experimental_op_resolver_type`` picks the profile.

    Raises
    ------
    InputError
        No model, or an unknown profile or argument.
    UnsupportedError
        See :func:`load`; or delegates were given.
    ModelError
        See :func:`load`.

    """

    def __init__(
        self,
        model: ModelSource | None = None,
        profile: str | Profile = LITERT_REFERENCE,
        *,
        model_path: str | bytes | PathLike[str] | None = None,
        model_content: bytes | None = None,
        num_threads: int | None = None,
        plan: str = "fast",
        **experimental: Unpack[Experimental],
    ) -> None:
        path = os.fsdecode(model_path) if isinstance(model_path, bytes) else model_path
        sources = [source for source in (model, path, model_content) if source is not None]
        if len(sources) != 1:
            raise InputError(f"expected one model, found {len(sources)}")
        if plan not in PLANS:
            raise InputError(f"expected a plan among {', '.join(PLANS)}, found {plan!r}")
        self.profile = profile_for(profile, experimental)
        team = _team(num_threads)
        self.model = load(sources[0])
        self._session = Session(self.model, self.profile, team, searches=plan == "fast")
        #: Shapes of inputs as they were asked for, where they differ from the file's.
        self._shapes: dict[int, tuple[int, ...]] = {}
        self._allocated = False
        #: Shapes of all tensors before the first invocation on new input shapes, once somebody asked for them.
        self._expected_shapes: list[tuple[int, ...]] | None = None
        self._invoked = False

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied, as ``tf.lite.Interpreter`` does."""
        raise TypeError("an Interpreter cannot be pickled or copied: make another one of its model")

    @property
    def graph(self) -> Graph:
        """The main subgraph in executable form."""
        return self._session.graph(0)

    def allocate_tensors(self) -> None:
        """Set inputs to zero, of the shapes asked for, and variable tensors to their initial state.

        Raises
        ------
        ModelError
            A constant does not fit its tensor.
        UnsupportedError
            An input is too large, or of a type without a NumPy form.

        """
        if self._allocated:
            return
        graph = self.graph
        with self.in_file():
            graph.load_constants()
            for index in graph.subgraph.inputs:
                tensor = graph.subgraph.tensors[index]
                with located(f"input {index} ({tensor.name!r})"):
                    if not tensor.dtype.bits:
                        raise UnsupportedError(f"inputs of type {tensor.dtype.name} are not covered")
                    shape = checked_shape(self._shapes.get(index, tensor.shape))
                    value = graph.current(index)
                    if value is None or value.shape != shape:
                        graph.assign(index, np.zeros(shape, tensor.dtype.storage))
            graph.forget()
        self._allocated, self._invoked, self._expected_shapes = True, False, None

    def resize_tensor_input(
        self,
        input_index: int,
        tensor_size: Sequence[int],
        strict: bool = False,  # noqa: FBT001, FBT002 - a position in the signature that this one stands in for
    ) -> None:
        """Ask for another shape of an input; :meth:`allocate_tensors` must follow, unless it has that shape already.

        Parameters
        ----------
        input_index
            Index of an input tensor.
        tensor_size
            The new shape.
        strict
            Whether only dimensions that the model leaves open may change.

        Raises
        ------
        InputError
            No such input, a bad shape, or a dimension that ``strict`` forbids to change.

        """
        tensor = self._input(input_index)
        try:
            shape = tuple(int(size) for size in tensor_size)
        except (TypeError, ValueError, OverflowError):
            raise InputError(f"expected a list of dimensions, found {tensor_size!r}") from None
        if any(not 0 <= size <= np.iinfo(np.int32).max for size in shape):
            raise InputError(f"expected dimensions of 31 bits that are not negative, found {shape}")
        signature = tensor.shape_signature or tensor.shape
        if strict and (
            len(shape) != len(signature) or any(s not in {-1, n} for s, n in zip(signature, shape, strict=True))
        ):
            raise InputError(f"expected a shape that fits {signature} of input {tensor.name!r}, found {shape}")
        if shape != self._shape(input_index):
            self._shapes[int(input_index)] = shape
            self._allocated = False

    def set_tensor(self, tensor_index: int, value: npt.ArrayLike) -> None:
        """Give a tensor its value.

        Raises
        ------
        InputError
            No such tensor, a constant, or another type or shape than it has.

        """
        tensor = self._tensor(tensor_index)
        self._require_allocation()
        if tensor.data is not None and not tensor.is_variable:
            raise InputError(f"expected a tensor that is no constant, found {tensor.name!r}")
        array = as_array(tensor.name, value)
        shape = self._shape(tensor_index)
        if not tensor.dtype.bits or array.dtype != tensor.dtype.storage:
            wanted = tensor.dtype.storage if tensor.dtype.bits else f"no value, since it is a {tensor.dtype.name},"
            raise InputError(f"expected {wanted} for tensor {tensor.name!r}, found {array.dtype}")
        if array.shape != shape:
            raise InputError(f"expected shape {shape} for tensor {tensor.name!r}, found {array.shape}")
        self.graph.assign(tensor_index, array.copy())

    def get_tensor(self, tensor_index: int, subgraph_index: int = 0) -> Array:
        """Return a copy of any tensor's value: constants, and after :meth:`invoke` everything computed.

        Raises
        ------
        InputError
            No such tensor or subgraph, or it has no value yet.

        """
        tensor = self._tensor(tensor_index, subgraph_index)
        if tensor.data is not None and not tensor.is_variable:
            return tensor.data.copy()
        self._require_allocation()
        return self._session.graph(subgraph_index).value(tensor_index).copy()

    def tensor(self, tensor_index: int) -> Callable[[], Array]:
        """Return a function that gives the current value of a tensor; what is written into an input's is its value.

        Raises
        ------
        InputError
            There is no such tensor; the function, when it has no value yet.

        """
        self._tensor(tensor_index)
        return lambda: self.graph.value(tensor_index)

    def invoke(self) -> None:
        """Run the model.

        Raises
        ------
        InputError
            :meth:`allocate_tensors` was not called.
        ModelError, UnsupportedError
            An op breaks its contract, or is not covered under the profile; the message says which.

        """
        self._require_allocation()
        try:
            with one_blas_thread():
                self.graph.run_steps()
        except Exception:
            with self.in_file():
                raise
        self._invoked = True

    def profile_ops(self, runs: int = 20) -> OpTimes:
        """Run the model on the inputs that are set, several times, and tell what each op takes and in which form.

        (``profile`` is the arithmetic that the interpreter runs under.) Variable tensors go on as in any invocation.

        Raises
        ------
        InputError
            :meth:`allocate_tensors` was not called, or ``runs`` is not positive.

        """
        self._require_allocation()
        with self.in_file(), one_blas_thread():
            return op_times(self, runs)

    def run_op(self, op_index: int, inputs: Inputs) -> Outputs:
        """Run one op of the main subgraph on given arrays.

        Returns
        -------
        The op's outputs in order, then the new value of each variable tensor that it updates.

        """
        self._operator(op_index)
        wanted = len(self.graph.subgraph.operators[op_index].inputs)
        if len(inputs) != wanted:
            raise InputError(f"expected {wanted} inputs of op {op_index}, found {len(inputs)}")
        with self.in_file():
            return self.graph.run_op(op_index, inputs)

    def evaluate_op(self, op_index: int, inputs: Inputs, note: Note = silent) -> Outputs:
        """Run one op of the main subgraph by its literal definition, naming its stages to ``note``."""
        self._operator(op_index)
        with self.in_file():
            return self.graph.evaluate_op(op_index, inputs, note)

    def reset_all_variables(self) -> None:
        """Set variable tensors back to their initial state; variables behind handles (VAR_HANDLE) keep their values."""
        for graph in self._session.graphs.values():
            graph.reset_variables()

    def get_input_details(self) -> list[dict[str, Any]]:
        """Describe the inputs, in order."""
        return [self._details(index) for index in self.graph.subgraph.inputs]

    def get_output_details(self) -> list[dict[str, Any]]:
        """Describe the outputs, in order."""
        return [self._details(index) for index in self.graph.subgraph.outputs]

    def get_tensor_details(self, subgraph_index: int = 0) -> list[dict[str, Any]]:
        """Describe every tensor of a subgraph.

        Raises
        ------
        InputError
            There is no such subgraph.

        """
        tensors = self._subgraph(subgraph_index).tensors
        return [self._details(index, subgraph_index) for index in range(len(tensors))]

    def num_subgraphs(self) -> int:
        """Return the number of subgraphs."""
        return len(self.model.subgraphs)

    def get_signature_list(self) -> dict[str, dict[str, list[str]]]:
        """Return the names of inputs and outputs of each signature."""
        return {
            signature.key: {"inputs": sorted(dict(signature.inputs)), "outputs": sorted(dict(signature.outputs))}
            for signature in self.model.signatures
        }

    def get_signature_runner(self, signature_key: str | None = None) -> SignatureRunner:
        """Return a function that runs a signature on named inputs.

        Raises
        ------
        InputError
            No such signature, or no key where there are several.

        """
        signatures = {signature.key: signature for signature in self.model.signatures}
        if signature_key is None and len(signatures) == 1:
            (signature_key,) = signatures
        if not isinstance(signature_key, str) or signature_key not in signatures:
            raise InputError(f"expected a signature among {sorted(signatures)}, found {signature_key!r}")
        return SignatureRunner(self, signatures[signature_key])

    def in_file(self) -> AbstractContextManager[None]:
        """Return a context in which errors name the model's file."""
        return located(*([str(self.model.path)] if self.model.path else []))

    def _details(self, index: int, subgraph_index: int = 0) -> dict[str, Any]:
        tensor = self._tensor(index, subgraph_index)
        shape = self._session.graph(subgraph_index).shape(index) if subgraph_index else self._shape(index)
        return tensor_details(tensor, index, shape)

    def _shape(self, index: int) -> tuple[int, ...]:
        """Return the shape that a tensor of the main subgraph has, or will have after the next invocation."""
        graph = self.graph
        if index in graph.subgraph.inputs:
            return self._shapes.get(index, graph.subgraph.tensors[index].shape)
        if not self._allocated or self._invoked or not (self._shapes or leaves_shapes_open(graph.subgraph)):
            return graph.shape(index)
        if self._expected_shapes is None:
            self._expected_shapes = shapes_to_come(graph)
        return self._expected_shapes[index]

    def _subgraph(self, index: int) -> fbs.Subgraph:
        subgraphs = self.model.subgraphs
        if not 0 <= _whole(index) < len(subgraphs):
            raise InputError(f"expected a subgraph index below {len(subgraphs)}, found {index}")
        return subgraphs[index]

    def _tensor(self, index: int, subgraph_index: int = 0) -> fbs.Tensor:
        tensors = self._subgraph(subgraph_index).tensors
        if not 0 <= _whole(index) < len(tensors):
            raise InputError(f"expected a tensor index below {len(tensors)}, found {index}")
        return tensors[index]

    def _input(self, index: int) -> fbs.Tensor:
        inputs = self.graph.subgraph.inputs
        if index not in inputs:
            raise InputError(f"expected the index of an input, one of {list(inputs)}, found {index}")
        return self.graph.subgraph.tensors[index]

    def _operator(self, index: int) -> None:
        operators = self.graph.subgraph.operators
        if not 0 <= _whole(index) < len(operators):
            raise InputError(f"expected an op index below {len(operators)}, found {index}")
        self.graph.load_constants()

    def _require_allocation(self) -> None:
        if not self._allocated:
            raise InputError("expected allocate_tensors to be called first")


def _team(threads: int | None) -> Team | None:
    """Return threads to work with, or None for one."""
    count = 1 if threads is None else _whole(threads)
    if not -1 <= count <= MOST_THREADS or count == 0:
        raise InputError(f"expected num_threads from 1 to {MOST_THREADS}, or -1, found {threads}")
    return Team(count) if count > 1 else None


def _whole(number: Any) -> int:
    """Return an index or a count as an integer.

    Raises
    ------
    InputError
        It is none.

    """
    try:
        return operator.index(number)
    except TypeError:
        raise InputError(f"expected a whole number, found {number!r}") from None

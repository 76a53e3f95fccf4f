"""A drop-in for ``tf.lite.Interpreter`` that runs a model under a profile, bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

import fbs
from kernels.engine.contract import checked_shape
from kernels.engine.threads import Team
from kernels.engine.types import Inputs, Outputs
from kernels.profiles import LITERT_REFERENCE, Profile, profile_named
from qmath.errors import InputError
from qmath.stages import Note, silent
from qmath.types import Array
from quantref.blas_threads import one_blas_thread
from quantref.execution import Graph, Session
from quantref.locations import located
from quantref.op_times import OpTimes, op_times

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
        place: list[str] = []
    else:
        path = Path(source)
        if not path.is_file():
            raise InputError(f"expected a file, found none at {path}")
        model = fbs.read(path)
        place = [str(path)]
    with located(*place):
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

    Raises
    ------
    InputError
        No model, or an unknown profile.
    ModelError, UnsupportedError
        See :func:`load`.

    """

    def __init__(
        self,
        model: ModelSource | None = None,
        profile: str | Profile = LITERT_REFERENCE,
        *,
        model_path: str | PathLike[str] | None = None,
        model_content: bytes | None = None,
        num_threads: int | None = None,
        plan: str = "fast",
    ) -> None:
        sources = [source for source in (model, model_path, model_content) if source is not None]
        if len(sources) != 1:
            raise InputError(f"expected one model, found {len(sources)}")
        if num_threads is not None and (num_threads < -1 or num_threads == 0 or num_threads > MOST_THREADS):
            raise InputError(f"expected num_threads from 1 to {MOST_THREADS}, or -1, found {num_threads}")
        self.model = load(sources[0])
        if plan not in PLANS:
            raise InputError(f"expected a plan among {', '.join(PLANS)}, found {plan!r}")
        self.profile = profile_named(profile)
        team = Team(num_threads) if num_threads is not None and num_threads > 1 else None
        self._session = Session(self.model, self.profile, team, searches=plan == "fast")
        self._shapes: dict[int, tuple[int, ...]] = {}
        self._allocated = False
        self._stale_shapes = False

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
        graph = self.graph
        with self.in_file():
            graph.load_constants()
            for index in graph.subgraph.inputs:
                tensor = graph.subgraph.tensors[index]
                with located(f"input {index} ({tensor.name!r})"):
                    shape = checked_shape(self._shapes.get(index, tensor.shape))
                    value = graph.current(index)
                    if value is None or value.shape != shape:
                        graph.assign(index, np.zeros(shape, tensor.dtype.storage))
        if not self._allocated or self._shapes:
            graph.reset_variables()
        self._allocated = True

    def resize_tensor_input(self, input_index: int, tensor_size: Sequence[int], *, strict: bool = False) -> None:
        """Ask for another shape of an input; :meth:`allocate_tensors` must follow.

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
        shape = tuple(int(size) for size in tensor_size)
        if any(size < 0 for size in shape):
            raise InputError(f"expected dimensions that are not negative, found {shape}")
        signature = tensor.shape_signature or tensor.shape
        if strict and (
            len(shape) != len(signature) or any(s not in {-1, n} for s, n in zip(signature, shape, strict=True))
        ):
            raise InputError(f"expected a shape that fits {signature} of input {tensor.name!r}, found {shape}")
        self._shapes[input_index] = shape
        self._allocated = False
        self._stale_shapes = True

    def set_tensor(self, tensor_index: int, value: npt.ArrayLike) -> None:
        """Give a tensor its value.

        Raises
        ------
        InputError
            No such tensor, or another type or shape than it has.

        """
        tensor = self._tensor(tensor_index)
        self._require_allocation()
        array = np.asarray(value)
        shape = self.graph.shape(tensor_index)
        if array.dtype != tensor.dtype.storage:
            raise InputError(f"expected {tensor.dtype.storage} for tensor {tensor.name!r}, found {array.dtype}")
        if array.shape != shape:
            raise InputError(f"expected shape {shape} for tensor {tensor.name!r}, found {array.shape}")
        self.graph.assign(tensor_index, array.copy())

    def get_tensor(self, tensor_index: int) -> Array:
        """Return a copy of any tensor's value: constants, and after :meth:`invoke` everything computed.

        Raises
        ------
        InputError
            No such tensor, or it has no value yet.

        """
        self._tensor(tensor_index)
        self._require_allocation()
        return self.graph.value(tensor_index).copy()

    def tensor(self, tensor_index: int) -> Callable[[], Array]:
        """Return a function that gives the current value of a tensor."""
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
        self._stale_shapes = False

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
        with self.in_file():
            return self.graph.run_op(op_index, inputs)

    def evaluate_op(self, op_index: int, inputs: Inputs, note: Note = silent) -> Outputs:
        """Run one op of the main subgraph by its literal definition, naming its stages to ``note``."""
        self._operator(op_index)
        with self.in_file():
            return self.graph.evaluate_op(op_index, inputs, note)

    def reset_all_variables(self) -> None:
        """Set variable tensors back to their initial state."""
        self._session.resources.clear()
        self._session.done_once.clear()
        for graph in self._session.graphs.values():
            graph.reset_variables()

    def get_input_details(self) -> list[dict[str, Any]]:
        """Describe the inputs, in order."""
        return [self._details(index) for index in self.graph.subgraph.inputs]

    def get_output_details(self) -> list[dict[str, Any]]:
        """Describe the outputs, in order."""
        return [self._details(index) for index in self.graph.subgraph.outputs]

    def get_tensor_details(self) -> list[dict[str, Any]]:
        """Describe every tensor of the main subgraph."""
        return [self._details(index) for index in range(len(self.graph.subgraph.tensors))]

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
        if signature_key not in signatures:
            raise InputError(f"expected a signature among {sorted(signatures)}, found {signature_key!r}")
        return SignatureRunner(self._session, signatures[signature_key])

    def in_file(self) -> AbstractContextManager[None]:
        """Return a context in which errors name the model's file."""
        return located(*([str(self.model.path)] if self.model.path else []))

    def _details(self, index: int) -> dict[str, Any]:
        tensor = self._tensor(index)
        shape = self.graph.shape(index)
        params = tensor.quant
        scales = np.array([], np.float32) if params is None else params.scale
        zero_points = np.array([], np.int32) if params is None else params.zero_point.astype(np.int32)
        single = params is not None and not params.per_axis
        return {
            "name": tensor.name,
            "index": index,
            "shape": np.array(shape, np.int32),
            "shape_signature": np.array(tensor.shape_signature or tensor.shape, np.int32),
            "dtype": tensor.dtype.storage.type,
            "quantization": (float(scales[0]), int(zero_points[0])) if single else (0.0, 0),
            "quantization_parameters": {
                "scales": scales,
                "zero_points": zero_points,
                "quantized_dimension": 0 if params is None else params.quantized_dimension,
            },
            "sparsity_parameters": {},
        }

    def _tensor(self, index: int) -> fbs.Tensor:
        tensors = self.graph.subgraph.tensors
        if not 0 <= index < len(tensors):
            raise InputError(f"expected a tensor index below {len(tensors)}, found {index}")
        return tensors[index]

    def _input(self, index: int) -> fbs.Tensor:
        inputs = self.graph.subgraph.inputs
        if index not in inputs:
            raise InputError(f"expected the index of an input, one of {list(inputs)}, found {index}")
        return self.graph.subgraph.tensors[index]

    def _operator(self, index: int) -> None:
        operators = self.graph.subgraph.operators
        if not 0 <= index < len(operators):
            raise InputError(f"expected an op index below {len(operators)}, found {index}")
        self.graph.load_constants()

    def _require_allocation(self) -> None:
        if not self._allocated:
            raise InputError("expected allocate_tensors to be called first")


class SignatureRunner:
    """Runs one signature of a model on named inputs: ``runner(x=array) -> {name: array}``."""

    def __init__(self, session: Session, signature: fbs.Signature) -> None:
        self._session = session
        self._signature = signature

    def __call__(self, **inputs: npt.ArrayLike) -> dict[str, Array]:
        """Run the signature.

        Raises
        ------
        InputError
            Names, types or ranks that do not fit.

        """
        graph = self._session.graph(self._signature.subgraph_index)
        by_index = named_inputs(dict(self._signature.inputs), graph.subgraph, inputs)
        graph.run([by_index[index] for index in graph.subgraph.inputs])
        return {name: graph.value(index).copy() for name, index in self._signature.outputs}


def named_inputs(
    names: Mapping[str, int], subgraph: fbs.Subgraph, inputs: Mapping[str, npt.ArrayLike]
) -> dict[int, Array]:
    """Check arrays given by name against the tensors they are for, and return them by tensor index.

    Raises
    ------
    InputError
        A name is missing or unknown, or a type or rank does not fit.

    """
    if set(names) != set(inputs):
        raise InputError(f"expected inputs named {sorted(names)}, found {sorted(inputs)}")
    found: dict[int, Array] = {}
    for name, index in names.items():
        tensor, array = subgraph.tensors[index], np.asarray(inputs[name])
        if array.dtype != tensor.dtype.storage:
            raise InputError(f"expected {tensor.dtype.storage} for input {name!r}, found {array.dtype}")
        if array.ndim != len(tensor.shape):
            raise InputError(f"expected {len(tensor.shape)} dimensions for input {name!r}, found shape {array.shape}")
        found[index] = array
    return found

"""A device that is a Python function, in a child process that is kept, and replaced after a crash."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field

from qmath.errors import InputError
from quantref.conform.runners import TIMEOUT, Answers, Device, Refusal, Runner
from quantref.conform.trial import Trial
from quantref.runtimes import RuntimeFailure
from quantref.runtimes.child import Child


@dataclass(frozen=True, slots=True)
class FunctionRunner(Runner):
    """A Python function that is given a model's bytes and the inputs of an invocation, and returns the outputs.

    Attributes
    ----------
    target
        ``module:function``, or ``module:Class`` for models with state: made with the bytes once a case, and called
        with the inputs of each invocation.
    timeout
        Seconds that it has for each case, the import of its module apart.

    """

    target: str
    timeout: float = TIMEOUT

    @property
    def name(self) -> str:
        """The target."""
        return self.target

    def start(self) -> Device:
        """Start the child, and import the function there."""
        device = _FunctionDevice(self.target, self.timeout)
        device.ready()
        return device


@dataclass(slots=True)
class _FunctionDevice(Device):
    target: str
    timeout: float
    child: Child | None = field(default=None, init=False)

    def ready(self) -> Child:
        """Return the child, a new one if there is none."""
        if self.child is None:
            paths = os.pathsep.join(path or str(os.curdir) for path in ["", *sys.path])
            child = Child([sys.executable, "-m", "quantref.conform.worker", self.target], {"PYTHONPATH": paths})
            try:
                greeting, *words = child.receive(max(self.timeout, TIMEOUT))
            except RuntimeFailure as failure:
                raise InputError(f"{self.target} cannot be imported: {failure}") from failure
            if greeting != "ready":
                child.end()
                raise InputError(f"expected module:function, found {self.target!r}: {words[0]}")
            self.child = child
        return self.child

    def run(self, trial: Trial) -> Answers:
        child = self.ready()
        try:
            child.send((trial.model, trial.inputs), self.timeout)
            verdict, *rest = child.receive(self.timeout)
        except RuntimeFailure:
            self.child = None
            raise
        if verdict == "refused":
            raise Refusal(rest[0], kind=rest[1])
        answers: Answers = rest[0]
        return answers

    def close(self) -> None:
        if self.child is not None:
            self.child.end()
            self.child = None

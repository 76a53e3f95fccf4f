"""The exceptions of quantref: bad input raises one of these and nothing else.

They live in the lowest layer so that every package can raise them. Whoever knows more of the context
(the file, the subgraph, the op) adds it on the way up with :meth:`QuantrefError.within`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self


class QuantrefError(Exception):
    """Base of every exception that quantref raises on purpose.

    Parameters
    ----------
    message
        What was expected and what was found, as one sentence.

    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
        self.context: tuple[str, ...] = ()

    def within(self, place: str) -> Self:
        """Prefix the message with a place, outermost first, and return the exception for re-raising."""
        self.context = (place, *self.context)
        return self

    def __str__(self) -> str:
        """Return the context, outermost first, then the message."""
        return ": ".join((*self.context, self.message))


class ModelError(QuantrefError):
    """The file is malformed, or breaks the contract of the format or of one of its ops."""


class UnsupportedError(QuantrefError):
    """The model is valid, but quantref or the chosen profile does not cover what it asks for."""


class SpecError(QuantrefError):
    """Quantization parameters break the rules of the quantization spec."""


class InputError(QuantrefError, ValueError):
    """What the caller gave (arrays, names, options, paths) does not fit the model or the function."""


class RuntimeUnavailableError(QuantrefError):
    """A runtime to compare with is not installed or cannot be started here."""

"""Where an error happened, outermost place first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from qmath.errors import ModelError, QuantrefError, UnsupportedError


@contextmanager
def located(*places: str) -> Iterator[None]:
    """Add places, outermost first, to a :class:`QuantrefError` on its way up.

    What a kernel did not foresee in a damaged model is reported as a ModelError too.
    """
    try:
        yield
    except QuantrefError as error:
        for place in reversed(places):
            error.within(place)
        raise
    except MemoryError as error:
        raise UnsupportedError(": ".join((*places, f"not enough memory ({error})"))) from error
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise ModelError(": ".join((*places, f"cannot be run: {error}"))) from error

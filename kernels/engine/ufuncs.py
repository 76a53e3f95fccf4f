"""The functions behind ``np.clip`` and ``np.einsum``, whose wrappers cost more than a small array's work does."""

from __future__ import annotations

from contextvars import Context, copy_context
from functools import partial
from typing import Any

import numpy as np

_core = getattr(np, "_core", None)

#: ``clip(values, lowest, highest, out)``
clip: Any = getattr(getattr(_core, "umath", None), "clip", np.clip)

_c_einsum: Any = getattr(getattr(_core, "multiarray", None), "c_einsum", None)

#: ``einsum(indices, *operands, out=...)`` without a search for a better order of operands.
einsum: Any = _c_einsum if _c_einsum is not None else partial(np.einsum, optimize=False)


def silent_context() -> Context:
    """Return a context in which NumPy says nothing of overflows and the like.

    ``context.run(function)`` takes a fraction of the time that ``np.errstate`` takes, but a context that runs something
    can't run anything else.
    """
    context = copy_context()
    context.run(np.seterr, all="ignore")
    return context

"""The ufunc behind ``np.clip``, whose wrapper costs four times what a small array's clipping does."""

from __future__ import annotations

from typing import Any

import numpy as np

_core = getattr(np, "_core", None)

#: ``clip(values, lowest, highest, out)``
clip: Any = getattr(getattr(_core, "umath", None), "clip", np.clip)

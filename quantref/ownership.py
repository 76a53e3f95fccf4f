"""Checks that the packages beside quantref are its own: other distributions install a ``kernels`` or ``fbs`` too."""

from __future__ import annotations

import importlib

DISTRIBUTION = "quantref"
PACKAGES = ("qmath", "kernels", "fbs")


def check_packages() -> None:
    """Import the lower packages and make sure that they belong to this distribution.

    Raises
    ------
    ImportError
        One of them is missing, or belongs to another distribution.

    """
    for name in PACKAGES:
        try:
            package = importlib.import_module(name)
        except Exception as error:  # what another distribution's package raises can be anything
            kind = "" if isinstance(error, ImportError) else f"{type(error).__name__}: "
            raise ImportError(
                f"quantref needs its own package {name!r}, which cannot be imported: {kind}{error}; "
                "install quantref in a virtual environment of its own"
            ) from error
        if getattr(package, "DISTRIBUTION", None) != DISTRIBUTION:
            where = getattr(package, "__file__", None) or "an unknown place"
            raise ImportError(
                f"quantref needs its own package {name!r}, but found another distribution's in {where}: "
                "install quantref in a virtual environment of its own"
            )

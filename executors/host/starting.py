"""In what new processes start: with few threads for numerical libraries, and without the user's script."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

__all__ = ["limited_threads", "no_main_module"]

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@contextmanager
def limited_threads(threads: int) -> Iterator[None]:
    """Limit the threads of numerical libraries in processes that are started within the block."""
    added = [name for name in _THREADS if name not in os.environ]
    os.environ.update(dict.fromkeys(added, str(threads)))
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


@contextmanager
def no_main_module() -> Iterator[None]:
    """Keep new processes from importing the user's script again, which they have no use for.

    Otherwise each of them runs the script's top level, and a script without the usual
    ``if __name__ == "__main__":`` would start pools within pools.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main

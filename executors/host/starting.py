"""In what new processes start: with few threads for numerical libraries, and without the user's script."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from multiprocessing import forkserver
from types import ModuleType

__all__ = ["limited_threads", "no_main_module", "start_fork_server"]

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


def start_fork_server(modules: Iterable[str], threads: int) -> None:
    """Have the process started from which others are forked, unless it runs; it imports modules meanwhile.

    Parameters
    ----------
    modules : iterable of str
        What it imports, once for all that are forked from it. What cannot be imported is left to these.
    threads : int
        How many threads numerical libraries may use in each.
    """
    multiprocessing.get_context("forkserver").set_forkserver_preload(list(modules))
    with limited_threads(threads), no_main_module():
        forkserver.ensure_running()

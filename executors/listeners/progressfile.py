"""What tasks say of their progress, in a small file in the run's folder that ``supertask status`` reads."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from executors.events import Event, QuantumEnded, QuantumProgressed, RunFinished, RunStarted
from executors.journal.runfolder import RunFolder

__all__ = ["ProgressFile", "read_progress"]

_NAME = "progress.json"
_OFTEN = 1.0
"""Seconds between two writings."""


class ProgressFile:
    """A listener that keeps the file; no file is made for tasks that say nothing.

    Parameters
    ----------
    clock : callable, optional
        Seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._path: Path | None = None
        self._said: dict[int, tuple[float, str]] = {}
        self._written = float("-inf")

    def __call__(self, event: Event, /) -> None:
        """Take note of an event."""
        if isinstance(event, QuantumProgressed):
            self._said[event.index] = (event.fraction, event.message)
            if self._path is not None and self._clock() - self._written >= _OFTEN:
                self._write(self._path)
        elif isinstance(event, QuantumEnded):
            self._said.pop(event.attempt.index, None)
        elif isinstance(event, RunStarted):
            self._path = RunFolder(event.root, event.run).path / _NAME
        elif isinstance(event, RunFinished) and self._path is not None:
            self._path.unlink(missing_ok=True)

    def _write(self, path: Path) -> None:
        self._written = self._clock()
        temporary = path.with_name(f".{_NAME}.new")
        with contextlib.suppress(OSError):  # a full disk is no reason to lose a run
            temporary.write_text(json.dumps(self._said), encoding="utf-8")
            os.replace(temporary, path)


def read_progress(root: str | Path, run: str) -> dict[int, tuple[float, str]]:
    """Return what tasks said last: quantum → fraction and what is being done; empty where none did."""
    try:
        said: Any = json.loads((RunFolder(str(root), run).path / _NAME).read_text(encoding="utf-8"))
        return {int(q): (float(fraction), str(message)) for q, (fraction, message) in said.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}

"""Figures of matplotlib, which is asked for only when something is drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from supertask.errors import PreflightError

__all__ = ["figure", "save"]


def figure(width: float, height: float) -> Any:
    """Return a new figure, in inches, that belongs to no window system.

    Raises
    ------
    PreflightError
        matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise PreflightError(
            f"pictures need {error.name!r}: pip install 'supertask[pictures]'; --mermaid, --dot and --json "
            "do without"
        ) from error
    made = Figure(figsize=(width, height))
    FigureCanvasAgg(made)
    return made


def save(made: Any, path: str | Path) -> None:
    """Write a figure; the ending of its name says the format.

    Raises
    ------
    PreflightError
        It cannot be written, or the format is not known.
    """
    try:
        made.savefig(path, dpi=150, facecolor="white")
    except ValueError as error:
        raise PreflightError(f"cannot draw {path}: {error}") from error
    except OSError as error:
        raise PreflightError(f"cannot write {path}: {error.strerror or error}") from error

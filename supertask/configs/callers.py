"""Which line of the user's code is at work: what the history of a configuration names as a source."""

from __future__ import annotations

import sys
from types import FrameType

__all__ = ["calling_frame", "calling_line"]

_MAKERS = frozenset(
    f"supertask.{name}"
    for name in (
        "configs.callers",
        "configs.classes",
        "configs.config",
        "configs.grids",
        "connections.fields",
        "pipelines.parts",
        "pipelines.pipeline",
        "pipelines.sections",
        "pipelines.taskdefs",
    )
)


def calling_frame() -> FrameType | None:
    """Return the innermost frame that is not of the modules that make configurations."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__") in _MAKERS:
        frame = frame.f_back
    return frame


def calling_line() -> str:
    """Return ``file:line`` of the code that makes a configuration."""
    frame = calling_frame()
    return f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame else "code"

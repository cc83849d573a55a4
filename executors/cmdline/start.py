"""Where the program begins: nothing is imported before Ctrl-C is heeded."""

from __future__ import annotations

import sys

__all__ = ["start"]


def start() -> int:
    """Run the command of the process's own command line and return its exit code."""
    try:
        from executors.cmdline.main import main
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)  # noqa: T201 - the terminal's module is not there yet
        return 130
    return main()

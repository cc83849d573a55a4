"""Runs a program that ends when a given process does: ``python -m executors.testing.leash PID PROGRAM …``.

Parsl's interchange and its pools outlive whoever started them, should that be killed; those of a test must
not.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from types import FrameType

from executors.host.processes import end_tree, is_alive

__all__ = ["main"]

_LOOK = 0.5


def main(words: list[str]) -> int:
    """Run the program; return its exit code.

    Parameters
    ----------
    words : list of str
        Number of the process that it must not outlive, program, arguments.
    """
    holder = int(words[0])
    child = subprocess.Popen(words[1:])

    def pass_on(number: int, _: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            child.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, pass_on)
    while True:
        try:
            return child.wait(_LOOK)
        except subprocess.TimeoutExpired:
            pass
        if not is_alive(holder):
            end_tree(child.pid)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

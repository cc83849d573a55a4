"""``python -m executors.cmdline`` is the same as ``supertask``."""

from __future__ import annotations

import sys

from executors.cmdline.start import start

if __name__ == "__main__":
    sys.exit(start())

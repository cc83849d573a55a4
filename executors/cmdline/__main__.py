"""``python -m executors.cmdline`` is the same as ``supertask``."""

from __future__ import annotations

import sys

from executors.cmdline.main import main

if __name__ == "__main__":
    sys.exit(main())

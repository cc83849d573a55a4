"""Run all benchmarks, each in a process of its own; options are handed on to each."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from pathlib import Path

__all__ = ["main"]

# Modules here that measure nothing by themselves.
TOOLS = {"__main__", "fits", "harness", "peers", "workload"}


def main() -> int:
    """Run them; return how many failed."""
    folder = Path(__file__).resolve().parent
    names = sorted(m.name for m in pkgutil.iter_modules([str(folder)]) if m.name not in TOOLS)
    failed = []
    for name in names:
        if "--json" not in sys.argv:
            print(f"\n{name}", flush=True)
        command = [sys.executable, "-m", f"benchmarks.{name}", *sys.argv[1:]]
        if subprocess.run(command, cwd=folder.parent, check=False).returncode:
            failed.append(name)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return len(failed)


if __name__ == "__main__":
    sys.exit(min(main(), 1))

"""Luigi with ``batch_method``: its environment, its program, its figure."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import venv
from pathlib import Path

__all__ = ["batched_us_per_task"]

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = ROOT / ".venv-luigi"
VERSION = "3.8.1"
_CPU = re.compile(r"/([0-9.]+)c ms per task")


def batched_us_per_task(tasks: int, groups: int, most: int) -> float | None:
    """Return the CPU that Luigi needs for each task that does nothing, in batches; None where it is not.

    Its program is in the folder ``luigi`` of the one that ``SUPERTASK_PEERS`` names.
    """
    folder = os.environ.get("SUPERTASK_PEERS")
    program = Path(folder or "") / "luigi" / "luigi_batch.py"
    if not folder or not program.is_file():
        return None
    python = ENVIRONMENT / "bin" / "python"
    stamp = ENVIRONMENT / f".installed-{VERSION}"
    if not stamp.is_file():
        print(f"installing Luigi into {ENVIRONMENT.name} …", file=sys.stderr, flush=True)
        venv.create(ENVIRONMENT, with_pip=True, clear=True)
        pip: list[str | Path] = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, f"luigi=={VERSION}"], check=True)
        stamp.touch()
    command = [str(python), str(program), str(tasks), str(groups), str(most)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = _CPU.search(done.stdout)
    if done.returncode or found is None:
        raise SystemExit(f"Luigi's program failed:\n{done.stderr[-3000:]}")
    return float(found[1]) * 1e3

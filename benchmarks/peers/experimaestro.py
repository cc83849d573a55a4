"""experimaestro: what it costs to find out that jobs are done."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import venv
from functools import cache
from pathlib import Path

__all__ = ["warm_us_per_job"]

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = ROOT / ".venv-experimaestro"
REQUIREMENT = "experimaestro==2.7.0"
JOBS = 100


@cache
def warm_us_per_job() -> float | None:
    """Return microseconds of CPU for each of a hundred jobs that are all done, in a new process.

    Returns
    -------
    float or None
        None where its programs are not to be had: a folder `experimaestro` in what ``SUPERTASK_PEERS``
        names.
    """
    folder = Path(os.environ.get("SUPERTASK_PEERS") or ROOT.parent / "shared" / "peers") / "experimaestro"
    if not (folder / "bench_xpm.py").is_file():
        print(f"no programs for experimaestro in {folder}: set SUPERTASK_PEERS", file=sys.stderr)
        return None
    python = _install()
    with tempfile.TemporaryDirectory(prefix="experimaestro-") as work:
        for label in ("cold", "warm"):
            command: list[str | Path] = [
                python,
                folder / "bench_xpm.py",
                str(JOBS),
                "normal",
                "2",
                work,
                label,
            ]
            environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
            done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
            if done.returncode:
                raise SystemExit(f"experimaestro failed:\n{done.stderr[-3000:]}")
    row = json.loads(done.stdout.splitlines()[-1])
    return float(row["cpu_ms"]) * 1e3


def _install() -> Path:
    """Return the Python of an environment that has it, made if need be."""
    python = ENVIRONMENT / "bin" / "python"
    stamp = ENVIRONMENT / ".installed"
    if not stamp.is_file() or stamp.read_text() != REQUIREMENT:
        print(f"installing {REQUIREMENT} into {ENVIRONMENT.name} …", file=sys.stderr, flush=True)
        venv.create(ENVIRONMENT, with_pip=True, clear=True)
        command: list[str | Path] = [
            python,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            REQUIREMENT,
        ]
        subprocess.run(command, check=True)
        stamp.write_text(REQUIREMENT)
    return python

"""LSST's middleware (pipe_base, daf_butler, ctrl_mpexec): its environment, its programs, its figures."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["figures", "install", "programs"]

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = ROOT / ".venv-lsst"

Row = dict[str, Any]


def programs() -> Path:
    """Return the folder of the programs.

    Raises
    ------
    SystemExit
        It is not there; the message says how to name it.
    """
    folder = Path(os.environ.get("SUPERTASK_PEERS") or ROOT.parent / "shared" / "peers") / "lsst"
    if not (folder / "requirements.txt").is_file():
        raise SystemExit(
            f"no programs for LSST's middleware in {folder}: set SUPERTASK_PEERS to the folder that has lsst/"
        )
    return folder


def install(folder: Path) -> Path:
    """Return the Python of an environment that has what the programs require, made if need be."""
    requirements = folder / "requirements.txt"
    python = ENVIRONMENT / "bin" / "python"
    stamp = ENVIRONMENT / ".installed"
    wanted = hashlib.sha256(requirements.read_bytes()).hexdigest()
    if not stamp.is_file() or stamp.read_text() != wanted:
        print(f"installing LSST's middleware into {ENVIRONMENT.name} …", file=sys.stderr, flush=True)
        venv.create(ENVIRONMENT, with_pip=True, clear=True)
        pip: list[str | Path] = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--requirement", requirements], check=True)
        stamp.write_text(wanted)
    return python


def figures(size: int, executed: int, work: Path) -> Iterator[tuple[str, int, float]]:
    """Run the programs on repositories of about `size` and, for execution, `executed` quanta.

    Parameters
    ----------
    size, executed : int
        Quanta asked for; each figure comes with how many there were.
    work : Path
        An empty folder.

    Yields
    ------
    tuple
        The name of the figure of ours that it stands beside, quanta, and the value in that figure's unit.
    """
    folder = programs()
    python = install(folder)

    def call(program: str, *arguments: str) -> Row:
        environment = {**os.environ, "LSST_BENCH_WORK": str(work), "PYTHONDONTWRITEBYTECODE": "1"}
        print(f"LSST: {program} {' '.join(arguments)} …", file=sys.stderr, flush=True)
        command: list[str | Path] = [python, folder / program, *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{program} failed:\n{done.stderr[-3000:]}")
        row: Row = json.loads(done.stdout.splitlines()[-1])
        return row

    call("make_repo.py", str(size))
    built = call("build.py", str(size))
    n = built["quanta"]
    # As in our figures: time without imports, memory of the whole process.
    planning = sum(built[phase]["cpu"] for phase in ("open_butler", "pipeline_graph", "build", "save"))
    yield "preflight.us_per_quantum", n, planning / n * 1e6
    yield "preflight.startup_cpu_s", n, built["import"]["cpu"]
    yield "preflight.peak_bytes_per_quantum", n, built["save"]["peak_mib"] * 2**20 / n
    yield "dagfile.bytes_per_quantum", n, built["file_bytes"] / n
    one = call("load.py", str(size), "qg-one")
    fetching = sum(one[phase]["cpu"] for phase in ("load", "build_quanta"))
    yield "dagfile.fetch_one_ms", n, fetching * 1e3
    yield "dagfile.cold_fetch_cpu_s", n, fetching + one["import"]["cpu"]
    if executed != size:
        call("make_repo.py", str(executed))
    ran = call("execute.py", str(executed), "full")
    yield "execution.inprocess_ms_per_quantum", ran["quanta"], ran["ms_per_quantum_cpu"]

"""LSST's middleware (pipe_base, daf_butler, ctrl_mpexec): its environment, its programs, its figures."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import attrs

__all__ = ["Built", "build", "executing", "fetching", "install", "make_repository", "programs"]

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = ROOT / ".venv-lsst"

Row = dict[str, Any]


@attrs.frozen
class Built:
    """One plan, built and saved in a process of its own."""

    n: int
    """Quanta in it."""
    cpu: float
    """Seconds from opening the repository to the saved plan."""
    imports: float
    """Seconds."""
    peak: float
    """Bytes of resident memory at most, of the whole process."""
    file: int
    """Bytes."""


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


def make_repository(size: int, work: Path) -> None:
    """Make a repository whose plan has `size` quanta or about as many, in the folder `work`."""
    _call("make_repo.py", size, work)


def build(size: int, work: Path) -> Built:
    """Plan all of that repository."""
    row = _call("build.py", size, work)
    # As in our figures: time without imports, memory of the whole process.
    cpu = sum(row[phase]["cpu"] for phase in ("open_butler", "pipeline_graph", "build", "save"))
    peak = row["save"]["peak_mib"] * 2**20
    return Built(row["quanta"], cpu, row["import"]["cpu"], peak, row["file_bytes"])


def fetching(size: int, work: Path) -> dict[str, float]:
    """Return what one quantum out of that plan costs, by the name of the figure of ours that it is beside."""
    row = _call("load.py", size, work, "qg-one")
    cpu = sum(row[phase]["cpu"] for phase in ("load", "build_quanta"))
    return {"dagfile.fetch_one_ms": cpu * 1e3, "dagfile.cold_fetch_cpu_s": cpu + row["import"]["cpu"]}


def executing(size: int, work: Path) -> dict[str, float]:
    """Return what executing about `size` quanta costs, by the name of the figure of ours."""
    make_repository(size, work)
    row = _call("execute.py", size, work, "full")
    return {"execution.inprocess_ms_per_quantum": row["ms_per_quantum_cpu"]}


def _call(program: str, size: int, work: Path, *further: str) -> Row:
    folder = programs()
    command: list[str | Path] = [install(folder), folder / program, str(size), *further]
    environment = {**os.environ, "LSST_BENCH_WORK": str(work), "PYTHONDONTWRITEBYTECODE": "1"}
    print(f"LSST: {program} {size} …", file=sys.stderr, flush=True)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{program} failed:\n{done.stderr[-3000:]}")
    row: Row = json.loads(done.stdout.splitlines()[-1])
    return row

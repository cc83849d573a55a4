"""Instances of WfFormat that tests make up."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["fork_and_join", "instance", "task"]


def instance(
    folder: Path,
    tasks: Sequence[Mapping[str, Any]],
    files: Iterable[Mapping[str, Any]] = (),
    ran: Iterable[Mapping[str, Any]] = (),
    **more: Any,
) -> Path:
    """Write an instance; return its file."""
    said = {
        "name": "made up",
        "schemaVersion": "1.5",
        "workflow": {
            "specification": {"tasks": list(tasks), "files": list(files)},
            "execution": {"makespanInSeconds": 1, "executedAt": "now", "tasks": list(ran)},
        },
        **more,
    }
    path = folder / "instance.json"
    path.write_text(json.dumps(said))
    return path


def task(
    name: str,
    *parents: str,
    children: Sequence[str] = (),
    reads: Sequence[str] = (),
    writes: Sequence[str] = (),
) -> dict[str, Any]:
    """Describe one task."""
    return {
        "name": name, "id": name, "parents": list(parents), "children": list(children),
        "inputFiles": list(reads), "outputFiles": list(writes),
    }  # fmt: skip


def fork_and_join(folder: Path, width: int = 8) -> Path:
    """Write an instance of one task, `width` that wait for it, and one that waits for those; return its file.

    All run a program ``burn`` for 5 s, and write a file of 100 MB.
    """
    forked = [f"burn-{i}" for i in range(1, width + 1)]
    last = f"burn-{width + 1}"
    tasks = [task("burn-0", children=forked, reads=["given"], writes=["burn-0 made"])]
    tasks += [
        task(one, "burn-0", children=[last], reads=["burn-0 made"], writes=[f"{one} made"]) for one in forked
    ]
    tasks.append(task(last, *forked, reads=[f"{one} made" for one in forked], writes=[f"{last} made"]))
    files = ["given", *(file for each in tasks for file in each["outputFiles"])]
    ran = [{"id": each["id"], "runtimeInSeconds": 5.0, "command": {"program": "burn"}} for each in tasks]
    return instance(folder, tasks, [{"id": file, "sizeInBytes": 100_000_000} for file in files], ran)

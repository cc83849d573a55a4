"""A plan as an instance of WfFormat 1.5: nodes with parents, children, files, and times where known."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbuilder.dag.dag import ScienceDag
from graphbuilder.dag.values import Bundling
from graphbuilder.exports.nodes import Node, homes_of, nodes_of
from graphbuilder.workflows.tasks import INPUTS, Work, is_control
from supertask.datasets import Dataset

__all__ = ["document", "files"]

_VERSION = "1.5"
Ints = npt.NDArray[np.int64]


def files(dag: ScienceDag, bundling: Bundling | None, title: str) -> dict[str, str]:
    """Return what is to be written: name of a file → its text."""
    return {"workflow.json": json.dumps(document(dag, bundling, title), indent=1) + "\n"}


def document(dag: ScienceDag, bundling: Bundling | None, title: str) -> dict[str, Any]:
    """Return an instance of WfFormat, as plain data.

    A plan that was made of such an instance, without bundles, gives its tasks, files and times again.

    Parameters
    ----------
    dag : ScienceDag
        The plan.
    bundling : Bundling or None
        Its bundles; without them each quantum is a task.
    title : str
        What to call it.
    """
    nodes = nodes_of(dag, bundling)
    works = _works(dag) if bundling is None else {}
    ids = [works[node.number][0] if node.number in works else _id(node) for node in nodes]
    children: dict[int, list[int]] = {}
    for node in nodes:
        for before in node.after:
            children.setdefault(before, []).append(node.number)
    reads, writes, sizes = _files(dag, homes_of(dag, bundling))
    tasks = [
        {
            "name": works[node.number][1].name if node.number in works else ids[node.number],
            "id": ids[node.number],
            "parents": [ids[p] for p in node.after],
            "children": [ids[c] for c in children.get(node.number, ())],
            "inputFiles": reads.get(node.number, []),
            "outputFiles": writes.get(node.number, []),
        }
        for node in nodes
    ]
    workflow: dict[str, Any] = {
        "specification": {
            "tasks": tasks,
            "files": [{"id": file, "sizeInBytes": size} for file, size in sizes.items()],
        }
    }
    ran = list(_ran(nodes, ids, works))
    created = dag.meta.created or datetime.now(UTC).isoformat()
    if len(ran) == len(nodes):
        total = sum(each["runtimeInSeconds"] for each in ran)
        workflow["execution"] = {"makespanInSeconds": total, "executedAt": created, "tasks": ran}
    return {
        "name": title,
        "description": f"A plan of SuperTask: {dag.n_quanta} quanta of {len(dag.tasks)} tasks, "
        f"{len(nodes)} nodes; its makespan is that of one after another",
        "createdAt": created,
        "schemaVersion": _VERSION,
        "workflow": workflow,
    }


def _id(node: Node) -> str:
    return f"{'-'.join(node.labels)[:100]}-{node.number}"


def _works(dag: ScienceDag) -> dict[int, tuple[str, Work]]:
    """Return simulated work by quantum: the task's ID in its workflow, and what it needs."""
    found = {}
    for i, quantum in enumerate(dag.quanta):
        if not isinstance(quantum.parameters, Work) or quantum.dataId is None:
            return {}
        found[i] = (str(quantum.dataId["job"]), quantum.parameters)
    return found


def _ran(
    nodes: Sequence[Node], ids: Sequence[str], works: Mapping[int, tuple[str, Work]]
) -> Iterator[dict[str, Any]]:
    for node in nodes:
        if node.number in works:
            work = works[node.number][1]
            said: dict[str, Any] = {"id": ids[node.number], "runtimeInSeconds": work.seconds}
            if work.program:
                said["command"] = {"program": work.program}
            said["coreCount"] = work.cores
            if work.memory:
                said["memoryInBytes"] = work.memory
            yield said
        elif node.seconds:
            yield {
                "id": ids[node.number],
                "runtimeInSeconds": node.seconds,
                "command": {"program": node.labels[0]},
                "memoryInBytes": node.memory,
            }


def _files(dag: ScienceDag, homes: Ints) -> tuple[dict[int, list[str]], dict[int, list[str]], dict[str, int]]:
    """Return files that nodes read from outside, those that they write, and the size of each in bytes."""
    reads: dict[int, list[str]] = {}
    writes: dict[int, list[str]] = {}
    sizes: dict[str, int] = {}
    for dataset_type, table in dag.datasets.items():
        made = np.full(table.n, -1, np.int64)
        for side, found in (("outputs", writes), ("inputs", reads)):
            owners, rows = _pairs(dag, homes, dataset_type, side)
            if side == "outputs":
                made[rows] = owners
            else:
                outside = made[rows] != owners
                owners, rows = owners[outside], rows[outside]
            names = _names(dag, dataset_type, rows)
            for owner, row in zip(owners.tolist(), rows.tolist(), strict=True):
                name = names[row]
                if name:
                    found.setdefault(owner, []).append(name)
                    sizes.setdefault(name, _size(table, row))
    sizes |= _said_sizes(dag)
    return reads, writes, sizes


def _pairs(dag: ScienceDag, homes: Ints, dataset_type: type[Dataset], side: str) -> tuple[Ints, Ints]:
    """Return each node with each row of a type that it reads or writes, once."""
    owners, rows = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for node, table in zip(dag.tasks, dag.quantum_tables, strict=True):
        edges = getattr(table, side).get(dataset_type)
        if edges is not None:
            owners.append(homes[edges.owners() + node.first])
            rows.append(np.asarray(edges.all_rows(), np.int64))
    n = max(dag.datasets[dataset_type].n, 1)
    pairs = np.unique(np.concatenate(owners) * n + np.concatenate(rows))
    return pairs // n, pairs % n


def _names(dag: ScienceDag, dataset_type: type[Dataset], rows: Ints) -> dict[int, str]:
    """Return the file of each row; empty for what stands for an end alone."""
    wanted = np.unique(rows).tolist()
    if dataset_type.units != ("file",):
        return {row: f"{dataset_type.name}-{row}" for row in wanted}
    handles = dag.datasets[dataset_type].handles()
    files = {row: str(handles[row].dataId["file"]) for row in wanted}
    return {row: "" if is_control(file) else file for row, file in files.items()}


def _size(table: Any, row: int) -> int:
    return max(0, int(table.sizes[row])) if table.sizes is not None else 0


def _said_sizes(dag: ScienceDag) -> dict[str, int]:
    """Return the sizes that simulated work says: of what was there, and not of what stands for it."""
    found: dict[str, int] = {}
    for quantum in dag.quanta:
        if not isinstance(quantum.parameters, Work):
            return {}
        work = quantum.parameters
        given = [ds for t, ds in quantum.inputs.items() if t.name == INPUTS]
        for some, sizes in ((list(quantum.outputs.values()), work.sizes), (given, work.input_sizes)):
            for datasets in some:
                for dataset, size in zip(sorted(datasets), sizes, strict=True):
                    file = str(dataset.dataId["file"])
                    if not is_control(file):
                        found[file] = size
    return found

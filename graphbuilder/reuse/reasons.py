"""How much of a plan is reused, from which runs, and why the rest must run."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from graphbuilder.dag.dag import ScienceDag
from graphbuilder.dag.reused import Reused, TaskReuse
from graphbuilder.dag.values import TaskNode
from graphbuilder.reuse.matching import Match
from graphbuilder.tasks.taskkeys import key_with_source
from supertask.butler.port import AbstractButler
from supertask.datasets import Dataset
from supertask.errors import RepositoryError
from supertask.repograph.tables import QuantumTable

__all__ = ["Because", "Decided", "told"]

Bools = npt.NDArray[np.bool_]
_FIELDS = 4
_RUNS = 100
"""Of more runs the configurations are not compared: their provenance is read one by one."""


class Because(enum.Enum):
    """Why a quantum must run."""

    LOST = "a file is gone or altered"
    PART = "only part of its outputs is there"
    NEW = "nothing of this data ID is there: new, or gone"
    CONFIG = "task or config differs"
    INPUTS = "inputs differ"
    ABSENT = "what is there of this data ID was made otherwise"

    code: int
    """For columns."""


for _code, _because in enumerate(Because, 1):
    _because.code = _code  # an attribute of each member: a look-up by member would hash its name each time


@attrs.frozen(eq=False)
class Decided:
    """What becomes of each of n quanta."""

    must: Bools
    """Shape (n,): whether it must run."""
    why: npt.NDArray[np.uint8]
    """Shape (n,): codes of `Because`."""
    aside: Bools
    """Shape (n,): whether it would have to run, and was not asked for."""
    failed: Mapping[str, Bools]
    """Run → shape (n,): whether it failed there."""

    def part(self, quanta: slice) -> Decided:
        """Return what becomes of some quanta that follow one another."""
        failed = {run: f[quanta] for run, f in self.failed.items()}
        return Decided(self.must[quanta], self.why[quanta], self.aside[quanta], failed)


def told(
    dag: ScienceDag, butler: AbstractButler, matches: Mapping[type[Dataset], Match], decided: Decided
) -> Reused:
    """Count what is reused and what must run, task by task.

    Parameters
    ----------
    dag : ScienceDag
        The whole plan.
    butler : AbstractButler
        The repository: what made its runs.
    matches : Mapping
        What is there of each type that the plan makes.
    decided : Decided
        What becomes of its quanta.
    """
    provenance = _Provenance(butler)
    tasks = []
    for node, table in zip(dag.tasks, dag.quantum_tables, strict=True):
        part = slice(node.first, node.first + node.count)
        tasks.append(_task(node, table, matches, decided.part(part), provenance))
    return Reused(tuple(tasks))


def _task(
    node: TaskNode,
    table: QuantumTable,
    matches: Mapping[type[Dataset], Match],
    decided: Decided,
    provenance: _Provenance,
) -> TaskReuse:
    must = decided.must
    source = np.full(table.n, -1, np.int64)
    names: list[str] = []
    other = np.full(table.n, -1, np.int64)
    for t, edges in table.outputs.items():
        match = matches.get(t)
        if match is None:
            continue
        mine = np.array([_place(names, run) for run in match.runs], np.int64)
        owners, rows = edges.owners(), edges.all_rows()
        for column, found in ((source, match.found[rows]), (other, match.other[rows])):
            fresh = (found >= 0) & (column[owners] < 0)
            column[owners[fresh]] = mine[match.run[found[fresh]]]
    kept = ~must & (source >= 0)
    counts = np.bincount(source[kept], minlength=len(names))
    runs = {names[i]: int(counts[i]) for i in np.argsort(-counts, kind="stable") if counts[i]}
    because = decided.why.copy()
    absent = because == Because.ABSENT.code
    because[absent & (other < 0)] = Because.NEW.code
    differs: dict[str, int] = {}
    for i, n in enumerate(np.bincount(other[absent & (other >= 0)], minlength=len(names)).tolist()):
        if n:
            changes = provenance.changes(names[i], node)
            if changes is not None:
                because[absent & (other == i)] = (Because.CONFIG if changes else Because.INPUTS).code
            for what in (changes or ())[:_FIELDS]:
                differs[what] = differs.get(what, 0) + n
    because[~must] = 0
    counted: dict[str, int] = {}
    for run, failed in decided.failed.items():
        these = failed & (because > 0)
        if these.any():
            counted[f"failed in run {run!r}"] = int(these.sum())
            because[these] = 0
    numbers = np.bincount(because, minlength=len(Because) + 1)
    return TaskReuse(
        node.label,
        node.count,
        int(must.sum()),
        runs,
        int((~must & ~decided.aside & (source < 0)).sum()),
        counted | {b.value: int(numbers[b.code]) for b in Because if numbers[b.code]},
        differs,
        int(decided.aside.sum()),
    )


def _place(names: list[str], run: str) -> int:
    if run not in names:
        names.append(run)
    return names.index(run)


class _Provenance:
    """What made earlier runs, read when it is first asked for."""

    def __init__(self, butler: AbstractButler) -> None:
        self._butler = butler
        self._known: dict[str, Mapping[str, Any]] = {}

    def changes(self, run: str, node: TaskNode) -> tuple[str, ...] | None:
        """Return what differs of a task between a run and now; None where the run does not tell."""
        if run not in self._known:
            if len(self._known) >= _RUNS:
                return None
            try:
                self._known[run] = self._butler.run_provenance(run).get("tasks", {})
            except RepositoryError:
                self._known[run] = {}
        there = self._known[run].get(node.label)
        if there is None:
            return None
        if there.get("key") == node.key.hex():
            return ()
        return tuple(_changes(there, node)) or (("config for some of the data",) if "key" in there else ())


def _changes(there: Mapping[str, Any], node: TaskNode) -> Iterator[str]:
    for what, now in (("class", node.class_path), ("version", node.version)):
        before = there.get(what, now)
        if before != now:
            yield f"{what}: {before} → {now}"
    yield from _fields(there.get("config", {}), node.config, "")
    yield from _source(there, node)


def _source(there: Mapping[str, Any], node: TaskNode) -> Iterator[str]:
    """Yield what became of the source code; it says something only where it is part of the identity."""
    key, before, now = bytes.fromhex(there.get("key", "")), there.get("source", ""), node.source
    if now and key_with_source(key, now) == node.key:
        yield "source code joined the identity"
    elif before and key_with_source(node.key, before) == key:
        yield "source code left the identity"
    elif before and now and before != now and node.by_source:
        yield f"source code: {before[:8]} → {now[:8]}"


def _fields(before: Any, now: Any, path: str) -> Iterator[str]:
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for name in dict.fromkeys([*before, *now]):
            inner = f"{path}.{name}" if path else str(name)
            yield from _fields(before.get(name, "(not set)"), now.get(name, "(not set)"), inner)
    elif before != now:
        yield f"config {path}: {before!r} → {now!r}"

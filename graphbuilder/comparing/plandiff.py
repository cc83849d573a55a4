"""What two plans do not share, and why: quanta that only one has, and those that are of another identity.

Quanta are paired by task label and data ID, all in columns. A quantum of both plans whose identity differs
does so because of its task (class, version, config), its parameters, which inputs it reads, what these are,
or what was changed upstream: each is told from the columns of the two plans and nothing else.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from graphbuilder.comparing.planchanges import Change, changes_of, settings_of, task_changes, task_keys
from graphbuilder.comparing.plankeys import Translation, paired
from graphbuilder.dag.dag import ScienceDag
from graphbuilder.dag.parameters import parameter_values
from graphbuilder.dag.values import TaskNode
from graphbuilder.expressions.language import parse
from graphbuilder.reasons.nearest import is_plain
from supertask.conditions import conjuncts, names
from supertask.datasets import Dataset
from supertask.errors import SuperTaskError
from supertask.repograph.columns import Edges, group, lookup
from supertask.repograph.tables import QuantumTable

__all__ = ["Cause", "Change", "PlanDiff", "TaskDiff", "plan_diff"]

Bools = npt.NDArray[np.bool_]


class Cause(enum.Enum):
    """Why a quantum that both plans have is of another identity."""

    TASK = "task"
    """Its task's class, version or config."""
    PARAMETERS = "parameters"
    INPUTS = "other inputs"
    """It reads datasets of other data IDs."""
    REPLACED = "inputs replaced"
    """It reads datasets of the same data IDs that are others all the same: ingested or made anew."""
    UPSTREAM = "upstream"
    """Quanta that make its inputs changed."""
    OTHER = "other"


@attrs.frozen
class TaskDiff:
    """What differs of the quanta of one task."""

    label: str
    a: int
    """Quanta in the first plan."""
    b: int
    """Quanta in the second."""
    same: int
    changed: dict[Cause, int]
    """First cause → quanta; causes in the order of `Cause`, what none has left out."""
    only_a: dict[str, int]
    """Of those that the second plan does not have: why → how many."""
    only_b: dict[str, int]
    changes: tuple[Change, ...] = ()
    """What differs of the task itself."""

    @property
    def is_same(self) -> bool:
        """Whether both plans have the same quanta of the same identities."""
        return self.same == self.a == self.b


@attrs.frozen
class PlanDiff:
    """What two plans do not share, and why."""

    settings: tuple[Change, ...]
    """What they were made with: repository, expression, collections, packages."""
    tasks: tuple[TaskDiff, ...]

    @property
    def is_same(self) -> bool:
        """Whether both plans have the same quanta of the same identities, whatever they were made with."""
        return all(t.is_same for t in self.tasks)

    def __str__(self) -> str:
        return "\n".join(self._told())

    def _told(self) -> Iterator[str]:
        yield from map(str, self.settings)
        for t in self.tasks:
            if t.is_same and not t.changes:
                continue
            yield f"{t.label}: {t.a:,} → {t.b:,} quanta, {t.same:,} the same"
            yield from (f"  {c}" for c in t.changes)
            yield from (f"  {n:,} changed: {cause.value}" for cause, n in t.changed.items())
            yield from (f"  {n:,} only in the first: {why}" for why, n in t.only_a.items())
            yield from (f"  {n:,} only in the second: {why}" for why, n in t.only_b.items())
        if self.is_same:
            yield f"the same {sum(t.same for t in self.tasks):,} quanta"

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data, fit for JSON."""
        return {
            "same": self.is_same,
            "settings": [attrs.asdict(c) for c in self.settings],
            "tasks": [
                {**attrs.asdict(t), "changed": {c.value: n for c, n in t.changed.items()}} for t in self.tasks
            ],
        }


def plan_diff(a: ScienceDag, b: ScienceDag) -> PlanDiff:
    """Compare two plans.

    Parameters
    ----------
    a, b : ScienceDag
        The plans. Of plans of different repositories data IDs are compared by their values.

    Returns
    -------
    PlanDiff
        What they do not share, task by task, and why.
    """
    there, back = Translation(a.space, b.space), Translation(b.space, a.space)
    nodes = [{n.label: k for k, n in enumerate(d.tasks)} for d in (a, b)]
    tasks = [
        _Task(a, b, there, back, label, nodes[0].get(label), nodes[1].get(label)).diff()
        for label in dict.fromkeys([*nodes[0], *nodes[1]])
    ]
    return PlanDiff(tuple(settings_of(a, b)), tuple(tasks))


class _Task:
    """The quanta of one label in two plans."""

    def __init__(
        self,
        a: ScienceDag,
        b: ScienceDag,
        there: Translation,
        back: Translation,
        label: str,
        in_a: int | None,
        in_b: int | None,
    ) -> None:
        self.a, self.b, self.there, self.back, self.label = a, b, there, back, label
        self.node_a = None if in_a is None else a.tasks[in_a]
        self.node_b = None if in_b is None else b.tasks[in_b]
        self.table_a = None if in_a is None else a.quantum_tables[in_a]
        self.table_b = None if in_b is None else b.quantum_tables[in_b]

    def diff(self) -> TaskDiff:
        """Return what differs."""
        na, nb = (0 if t is None else t.n for t in (self.table_a, self.table_b))
        if self.node_a is None or self.node_b is None or self.table_a is None or self.table_b is None:
            return TaskDiff(
                self.label, na, nb, 0, {},
                {"the second plan has no such task": na} if na else {},
                {"the first plan has no such task": nb} if nb else {},
            )  # fmt: skip
        if set(self.table_a.columns) != set(self.table_b.columns):
            why = "its quanta are by other units"
            changes = tuple(task_changes(self.node_a, self.node_b))
            return TaskDiff(
                self.label, na, nb, 0, {}, {why: na} if na else {}, {why: nb} if nb else {}, changes
            )
        columns_b = {u: self.table_b.columns[u] for u in self.table_a.columns}
        rows_a, rows_b = paired(self.table_a.key(), self.there.keys(columns_b, nb))
        changes = tuple(changes_of(self.node_a, self.node_b, self.table_a, self.table_b, rows_a, rows_b))
        same = _equal_rows(
            self.a.identities[:][rows_a + self.node_a.first], self.b.identities[:][rows_b + self.node_b.first]
        )
        other = ~same
        return TaskDiff(
            self.label,
            na,
            nb,
            int(same.sum()),
            self._causes(self.node_a, self.node_b, self.table_a, self.table_b, rows_a[other], rows_b[other]),
            self._only(self.a, self.b, self.back, self.there, self.table_a, rows_a, self.node_b),
            self._only(self.b, self.a, self.there, self.back, self.table_b, rows_b, self.node_a),
            changes,
        )

    # -- quanta of both that differ -----------------------------------------------------------

    def _causes(
        self, node_a: TaskNode, node_b: TaskNode, a: QuantumTable, b: QuantumTable, rows_a: Any, rows_b: Any
    ) -> dict[Cause, int]:
        left = np.ones(len(rows_a), bool)
        if not len(left):
            return {}
        counts: dict[Cause, int] = {}

        def take(cause: Cause, these: Bools) -> None:
            n = int((left & these).sum())
            left[these] = False
            if n:
                counts[cause] = n

        keys = [task_keys(node, t, rows) for node, t, rows in ((node_a, a, rows_a), (node_b, b, rows_b))]
        take(Cause.TASK, ~_equal_rows(*keys))
        take(Cause.PARAMETERS, _other_parameters(a, b, rows_a, rows_b))
        inputs, replaced, upstream = (np.zeros(len(left), bool) for _ in range(3))
        by_name = [{t.name: t for t in table.inputs} for table in (a, b)]
        for name in dict.fromkeys([*by_name[0], *by_name[1]]):
            ta, tb = by_name[0].get(name), by_name[1].get(name)
            if ta is None or tb is None:
                present, rows, typed = (a, rows_a, ta) if tb is None else (b, rows_b, tb)
                assert typed is not None  # noqa: S101 - the name came from one of the two
                inputs |= present.inputs[typed].counts()[rows] > 0
                continue
            sets, contents = self._inputs_differ(ta, tb, a.inputs[ta], b.inputs[tb], rows_a, rows_b)
            inputs |= sets
            both_made = ta in self.a.producers and tb in self.b.producers
            (upstream if both_made else replaced)[contents & ~sets] = True
        take(Cause.INPUTS, inputs)
        take(Cause.REPLACED, replaced)
        take(Cause.UPSTREAM, upstream)
        take(Cause.OTHER, np.ones(len(left), bool))
        return counts

    def _inputs_differ(
        self, ta: type[Dataset], tb: type[Dataset], a: Edges, b: Edges, rows_a: Any, rows_b: Any
    ) -> tuple[Bools, Bools]:
        """Return whose inputs of a type have other data IDs, and whose have other identities."""
        table_a, table_b = self.a.datasets[ta], self.b.datasets[tb]
        columns_b = {u: table_b.columns[u] for u in table_a.columns if u in table_b.columns}
        keys_a = _mixed(Translation(self.a.space, self.a.space).keys(table_a.columns, table_a.n))
        keys_b = self.there.keys(columns_b, table_b.n)
        # Datasets that the first plan knows nothing of have no key there: they are told from each other.
        unknown = np.flatnonzero(keys_b < 0)
        keys_b[unknown] = -2 - unknown
        sets = _sums(a, keys_a)[rows_a] != _sums(b, _mixed(keys_b))[rows_b]
        sets |= a.counts()[rows_a] != b.counts()[rows_b]
        made = ta in self.a.producers, tb in self.b.producers
        contents = _sums(a, _contents(self.a, ta, cheap=all(made)))[rows_a] != _sums(
            b, _contents(self.b, tb, cheap=all(made))
        )[rows_b]  # fmt: skip
        return sets, contents

    # -- quanta of one ------------------------------------------------------------------------

    def _only(
        self,
        have: ScienceDag,
        lack: ScienceDag,
        outward: Translation,
        inward: Translation,
        table: QuantumTable,
        shared: Any,
        node: TaskNode,
    ) -> dict[str, int]:
        """Return why quanta of one plan are not in the other: why → how many."""
        left = np.ones(table.n, bool)
        left[shared] = False
        counts: dict[str, int] = {}
        if not left.any():
            return counts

        def take(why: str, these: Bools) -> None:
            n = int((left & these).sum())
            left[these] = False
            if n:
                counts[why] = counts.get(why, 0) + n

        columns = {u: c[:] for u, c in table.columns.items()}
        for part in lack.left_out:
            if part.label == self.label and set(part.columns) == set(columns):
                theirs = inward.keys({u: part.columns[u] for u in columns}, len(part))
                known = group(theirs).keys
                take(f"left out: not among the {part.why}", lookup(known, table.key()) >= 0)
        for condition, passed in _conditions(have, lack, columns, table.n):
            take(f"{condition} is false", ~passed)
        for unit in columns:
            codes = outward.unit(unit)
            if len(codes):
                take(f"{unit!r} is not there, or not selected", codes[columns[unit]] < 0)
        take(
            f"inputs are not there or not selected, or defineQuanta of {node.label!r} leaves it out",
            np.ones(len(left), bool),
        )
        return counts


def _conditions(
    have: ScienceDag, lack: ScienceDag, columns: Mapping[str, Any], n: int
) -> Iterator[tuple[str, Bools]]:
    """Yield conditions that only the other plan was made with, and for which quanta they are not false.

    Those alone that speak of keys: a plan has no fields of units.
    """
    try:
        mine = set(conjuncts(parse(have.meta.where, have.model, bind=have.meta.bind)))
        theirs = conjuncts(parse(lack.meta.where, lack.model, bind=lack.meta.bind))
    except SuperTaskError:  # bind values that plans of earlier versions could not carry
        return
    for condition in theirs:
        spoken = names(condition)
        if condition in mine or not is_plain(condition):
            continue
        if any(x.field or not have.space.determines(columns, x.unit) for x in spoken):
            continue
        if all(x.unit in have.space.tables for x in spoken):
            yield str(condition), have.space.mask(condition, columns, n)


def _other_parameters(a: QuantumTable, b: QuantumTable, rows_a: Any, rows_b: Any) -> Bools:
    ours, theirs = a.parameters, b.parameters
    if ours is None and theirs is None:
        return np.zeros(len(rows_a), bool)
    if ours is None or theirs is None:
        return np.ones(len(rows_a), bool)
    return np.array(
        [
            parameter_values(ours[i]) != parameter_values(theirs[j])
            for i, j in zip(rows_a.tolist(), rows_b.tolist(), strict=True)
        ],
        bool,
    )


def _equal_rows(a: Any, b: Any) -> Bools:
    one, other = (np.ascontiguousarray(x).view(np.uint64).reshape(-1, 2) for x in (a, b))
    equal: Bools = (one == other).all(axis=1)
    return equal


def _mixed(keys: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    """Scatter keys over 64 bits (splitmix64), so that sums of different sets are different."""
    z = keys.astype(np.int64).view(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _contents(dag: ScienceDag, dataset_type: type[Dataset], *, cheap: bool) -> npt.NDArray[np.uint64]:
    """Return 64 bits of the identity of every dataset of a type; `cheap` takes that of its quantum."""
    table = dag.datasets[dataset_type]
    if cheap:
        makers = dag.producers[dataset_type].table(table.n)
        identities = dag.identities[:][makers]
        identities[makers < 0] = 0
    else:
        identities = dag.dataset_identities(dataset_type, np.arange(table.n))
    return _mixed(np.ascontiguousarray(identities).view(np.uint64).reshape(-1, 2)[:, 0].view(np.int64))


def _sums(edges: Edges, values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Return for each quantum the sum of its datasets' values, which does not depend on their order."""
    taken = values[edges.all_rows()]
    if edges.indptr is None:
        return taken
    total = np.zeros(len(taken) + 1, np.uint64)
    np.cumsum(taken, out=total[1:])
    ends = edges.indptr[:]
    sums: npt.NDArray[np.uint64] = total[ends[1:]] - total[ends[:-1]]
    return sums

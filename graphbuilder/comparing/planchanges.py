"""What differs of two plans and their tasks themselves: what they were made with, classes, configs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from graphbuilder.dag.dag import ScienceDag
from graphbuilder.dag.values import TaskNode, Variant
from supertask.repograph.tables import QuantumTable

__all__ = ["Change", "changes_of", "settings_of", "task_changes", "task_keys"]

_UNSET = "(not set)"


@attrs.frozen
class Change:
    """One thing that differs."""

    what: str
    """Such as ``config psf.width``, ``expression``, ``package numpy``."""
    a: str
    b: str

    def __str__(self) -> str:
        return f"{self.what}: {self.a} → {self.b}"


def settings_of(a: ScienceDag, b: ScienceDag) -> Iterator[Change]:
    """Yield what two plans were made with that differs."""
    ours, theirs = a.meta, b.meta
    for what, one, other in (
        ("repository", ours.repository, theirs.repository),
        ("repository at", ours.butler_root, theirs.butler_root),
        ("collections", ", ".join(ours.collections), ", ".join(theirs.collections)),
        ("expression", ours.where, theirs.where),
        ("output run", ours.output_run, theirs.output_run),
    ):
        if one != other:
            yield Change(what, one or _UNSET, other or _UNSET)
    for what, left, right in (
        ("bind", ours.bind, theirs.bind),
        ("package", ours.versions, theirs.versions),
    ):
        for name, one, other in _differing(left, right):
            yield Change(f"{what} {name}", one, other)
    if ours.unit_model != theirs.unit_model:
        yield from (Change(f"unit model {n}", one, other) for n, one, other in _differing(
            ours.unit_model, theirs.unit_model
        ))  # fmt: skip


def _differing(a: Any, b: Any, path: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield path and both values of what differs between two trees of mappings."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for name in dict.fromkeys([*a, *b]):
            below = f"{path}.{name}" if path else str(name)
            yield from _differing(a.get(name, _Absent), b.get(name, _Absent), below)
    elif a is _Absent or b is _Absent or a != b:
        yield path, _shown(a), _shown(b)


def _shown(value: Any) -> str:
    return _UNSET if value is _Absent else str(value)


class _Absent:
    """Stands where one of two mappings has no value."""


def task_keys(node: TaskNode, table: QuantumTable, rows: Any) -> npt.NDArray[np.uint8]:
    """Return for each quantum the identity of its task as it is for that one, shape (n, 16)."""
    variants = node.variants or (node,)
    keys = np.frombuffer(b"".join(v.key for v in variants), np.uint8).reshape(-1, 16)
    return keys[_variants(table, rows)]


def _variants(table: QuantumTable, rows: Any) -> npt.NDArray[np.intp]:
    """Return which variant of its task each quantum has."""
    if table.variants is None:
        return np.zeros(len(rows), np.intp)
    chosen: npt.NDArray[np.intp] = np.asarray(table.variants[:])[rows].astype(np.intp)
    return chosen


def changes_of(
    a: TaskNode, b: TaskNode, table_a: QuantumTable, table_b: QuantumTable, rows_a: Any, rows_b: Any
) -> Iterator[Change]:
    """Yield what differs of a task; where data have overrides of their own, of how many quanta."""
    if not a.variants and not b.variants:
        yield from task_changes(a, b)
        return
    ours, theirs = a.variants or (a,), b.variants or (b,)
    pairs = _variants(table_a, rows_a) * len(theirs) + _variants(table_b, rows_b)
    counts = np.bincount(pairs, minlength=len(ours) * len(theirs))
    for pair in np.flatnonzero(counts).tolist():
        one, other = divmod(pair, len(theirs))
        for change in task_changes(ours[one], theirs[other]):
            yield attrs.evolve(change, what=f"{change.what}, {int(counts[pair]):,} quanta")


def task_changes(a: TaskNode | Variant, b: TaskNode | Variant) -> Iterator[Change]:
    """Yield what differs between two tasks: class, version, units, config."""
    units = [getattr(x, "quantum_units", ()) for x in (a, b)]
    for what, one, other in (
        ("class", a.class_path, b.class_path),
        ("version", a.version, b.version),
        ("quantum units", ", ".join(units[0]), ", ".join(units[1])),
    ):
        if one != other and (what != "quantum units" or all(units)):
            yield Change(what, one or _UNSET, other or _UNSET)
    for path, one, other in _differing(a.config, b.config):
        if a.key != b.key:
            yield Change(f"config {path}", one, other)
        elif _UNSET not in (one, other):  # one that a later version added with its default says nothing
            yield Change(f"config {path} (enters no identity)", one, other)

"""Compares two runs: what they were made with, what they read, what they came to, and their data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from executors.comparison.data import Side, compare_type, types_of
from executors.comparison.values import Change, InputComparison, RunComparison, TaskComparison
from executors.journal.report import Report, TaskReport, status
from executors.lineage.archive import Archive
from supertask.butler.port import AbstractButler
from supertask.errors import ExecutionError, SuperTaskError, did_you_mean
from supertask.formats.differences import Tolerance
from supertask.pipelines.taskdefs import config_type, overrides_type

__all__ = ["compare_runs"]

_UNSET = "(not set)"


def compare_runs(
    butler: AbstractButler,
    a: str,
    b: str,
    *,
    other: AbstractButler | None = None,
    tolerance: Tolerance | None = None,
    types: tuple[str, ...] | None = None,
    sample: int | None = None,
    data: bool = True,
) -> RunComparison:
    """Compare two runs.

    Parameters
    ----------
    butler : AbstractButler
        The repository.
    a, b : str
        RUN collections.
    other : AbstractButler, optional
        The repository of `b`, if that is another.
    tolerance : Tolerance, optional
        How far numbers may be apart and still count as equal; none unless given.
    types : tuple of str, optional
        Names of the dataset types to compare; all unless given.
    sample : int, optional
        Look into so many datasets of each type at most, evenly spread; all unless given.
    data : bool, optional
        Whether to compare data at all.

    Raises
    ------
    ExecutionError
        There is no such run.
    DatasetTypeError
        A type is not known.
    """
    sides = (Side(butler, a), Side(other or butler, b))
    for side in sides:
        _check(side)
    said = [side.butler.run_provenance(side.run) for side in sides]
    problems: list[str] = []
    labels = {label for one in said for label in one.get("tasks", {})}
    known = {t.name: t for t in types_of(sides)}
    for name in types or ():
        if name not in known:
            raise ExecutionError(f"there is no dataset type {name!r}{did_you_mean(name, known)}")
    # What configs say is told as changes of tasks.
    told = {make(label).name for label in labels for make in (config_type, overrides_type)}
    chosen = [t for n, t in known.items() if (n in types if types else n not in told)] if data else []
    reused = a in _reused_from(said[1]), b in _reused_from(said[0])
    compared = (
        compare_type(t, *sides, tolerance or Tolerance(), sample=sample, reused=reused, problems=problems)
        for t in chosen
    )
    return RunComparison(
        a=a,
        b=b,
        changes=tuple(_changes(said[0], said[1])),
        tasks=tuple(_tasks(*sides, problems)),
        inputs=tuple(_inputs(*sides, reused, problems)),
        data=tuple(c for c in compared if c is not None),
        problems=tuple(problems),
    )


def _check(side: Side) -> None:
    runs = [c.name for c in side.butler.collection_infos() if c.kind.value == "run"]
    if side.run not in runs:
        raise ExecutionError(
            f"there is no run {side.run!r} in {side.butler.root}{did_you_mean(side.run, runs)}; "
            f"it has {', '.join(runs) or 'none'}"
        )


def _reused_from(said: Mapping[str, Any]) -> set[str]:
    """Return the runs that the plan of a run took datasets from instead of making them."""
    reused = said.get("plan", {}).get("reused") or {}
    return {run for task in reused.get("tasks", ()) for run in task.get("runs", ())}


# -- what they were made with --------------------------------------------------------------------


def _changes(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[Change]:
    plans = a.get("plan", {}), b.get("plan", {})
    for what, key in (("expression", "where"), ("collections", "collections"), ("bind", "bind")):
        ours, theirs = (p.get(key) for p in plans)
        if ours != theirs:
            yield Change(what, _shown(ours), _shown(theirs))
    ours, theirs = a.get("tasks", {}), b.get("tasks", {})
    for label in dict.fromkeys([*ours, *theirs]):
        if label not in theirs or label not in ours:
            planned = [label in (p.get("pipeline") or {}).get("tasks", {}) for p in plans]
            one, other = (
                "there" if label in t or p else "not there"
                for t, p in zip((ours, theirs), planned, strict=True)
            )
            if one != other:  # else all of it was reused
                yield Change("task", one, other, label)
            continue
        for what in ("class", "version", "source"):
            one, other = ours[label].get(what), theirs[label].get(what)
            if one != other:
                yield Change(what, _shown(one), _shown(other), label)
        yield from _differing(ours[label].get("config", {}), theirs[label].get("config", {}), "config", label)
        yield from _differing(_variants(ours[label]), _variants(theirs[label]), "variant", label)
    yield from _differing(_packages(a), _packages(b), "package", "")


def _variants(task: Mapping[str, Any]) -> dict[str, Any]:
    return {str(i): v["config"] for i, v in enumerate(task.get("variants", ()))}


def _packages(said: Mapping[str, Any]) -> dict[str, Any]:
    last: Mapping[str, Any] = (said.get("sessions") or [{}])[-1]
    found = {**said.get("plan", {}).get("versions", {}), **last.get("packages", {})}
    return {**found, "python": last["python"]} if "python" in last else found


def _differing(a: Any, b: Any, path: str, label: str) -> Iterator[Change]:
    """Yield what differs between two trees of mappings."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for name in dict.fromkeys([*a, *b]):
            below = f"{path} {name}" if " " not in path else f"{path}.{name}"
            yield from _differing(a.get(name, _UNSET), b.get(name, _UNSET), below, label)
    elif a != b:
        yield Change(path, _shown(a), _shown(b), label)


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or _UNSET
    return _UNSET if value is None or value in ("", {}) else str(value)


# -- what they came to ---------------------------------------------------------------------------


def _tasks(a: Side, b: Side, problems: list[str]) -> Iterator[TaskComparison]:
    found: list[dict[str, TaskReport]] = []
    for side in (a, b):
        report: Report | None = None
        try:
            report = status(side.butler.root, side.run)
            problems += [f"{side.run}: {p}" for p in report.problems]
        except SuperTaskError as error:
            problems.append(str(error))
        found.append({t.label: t for t in report.tasks} if report is not None else {})
    for label in dict.fromkeys([*found[0], *found[1]]):
        both = [f.get(label) or TaskReport(label, 0, {}) for f in found]
        counts = [{s.value: n for s, n in t.counts.items()} for t in both]
        yield TaskComparison(
            label=label,
            counts=(counts[0], counts[1]),
            cpu=(both[0].cpu, both[1].cpu),
            wall=(both[0].wall, both[1].wall),
            peak_memory=(both[0].peak_memory, both[1].peak_memory),
            bytes_written=(both[0].bytes_written, both[1].bytes_written),
        )


# -- what they read ------------------------------------------------------------------------------


def _inputs(a: Side, b: Side, reused: tuple[bool, bool], problems: list[str]) -> Iterator[InputComparison]:
    """Compare what was there before, in columns: only what is not the same is looked at by data ID."""
    archives = [Archive(s.butler.root, s.run) for s in (a, b)]
    sides = [_outside(archive) for archive in archives]
    # What one made and the other reused is told with the data.
    made = {t.name for archive in archives if archive.exists for _, p in archive.plans for t in p.producers}
    for archive in archives:
        problems += archive.problems
    for name in dict.fromkeys([*sides[0], *sides[1]]):
        if name in made and any(reused):
            continue
        ours, theirs = (s.get(name, {}) for s in sides)
        same = ours.keys() & theirs.keys()
        rest = [Counter(d for identity, d in s.items() if identity not in same) for s in (ours, theirs)]
        replaced = (rest[0] & rest[1]).total()
        found = InputComparison(
            name=name,
            same=len(same),
            replaced=replaced,
            only_a=0 if reused[0] else rest[0].total() - replaced,
            only_b=0 if reused[1] else rest[1].total() - replaced,
        )
        if found.same or found.replaced or found.only_a or found.only_b:
            yield found


def _outside(archive: Archive) -> dict[str, dict[bytes, Any]]:
    """Return of each type that plans of a run read and did not make: identity → data ID."""
    found: dict[str, dict[bytes, Any]] = {}
    if not archive.exists:
        return found
    for _, plan in archive.plans:
        for dataset_type, table in plan.datasets.items():
            if dataset_type in plan.producers or table.identities is None:
                continue
            digests = np.asarray(table.identities).tobytes()
            known = found.setdefault(dataset_type.name, {})
            known.update((digests[16 * i : 16 * i + 16], d) for i, d in enumerate(table.data_ids()))
    return found

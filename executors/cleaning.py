"""Cleaning up: what killed processes left behind, intermediates that may go, and whole runs.

What can be remade is told from what cannot. Remade can be what a run's journal says that its plan made, as
long as what it was made from is there. What was ingested or put by hand cannot, nor what was made from
something that is gone: that is never deleted unless it is asked for in so many words.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from executors.driving.opening import plan_identity
from executors.journal.journal import Header, Journal
from executors.journal.replay import replay
from executors.journal.runfolder import RunFolder, is_held
from executors.keeping.deletion import Deleted, Deleter, datasets_of
from executors.keeping.leftovers import Presence
from executors.keeping.retention import Doomed, Keeper, policies_for
from executors.outcome import QuantumStatus
from executors.workplaces.scratch import memory_folder, sweep_scratch
from graphbuilder.dag.dag import ScienceDag
from supertask.butler.datastore import Datastore
from supertask.butler.port import AbstractButler
from supertask.errors import CollectionError, ExecutionError, did_you_mean

__all__ = [
    "Leftover",
    "RunContents",
    "delete_intermediates",
    "find_leftovers",
    "is_active",
    "look_into_run",
    "remove_leftovers",
    "remove_run",
    "unfinished_removals",
]

_HOUR = 3600.0
_MARK = "removing.json"
_SUCCEEDED = QuantumStatus.SUCCEEDED.code


@attrs.frozen
class Leftover:
    """Something that a process left behind that is gone."""

    path: str
    size: int
    """Bytes."""
    what: str


def is_active(folder: RunFolder) -> bool:
    """Tell whether a driver or a worker works on a run."""
    held = (is_held(path) for path in folder.journal.glob("*.jsonl"))
    return is_held(folder.path / "driver.lock") or any(held)


def _runs(root: str) -> list[RunFolder]:
    base = Path(root) / ".supertask" / "runs"
    found = [p.parent for p in base.rglob("driver.lock")] if base.is_dir() else []
    return [RunFolder(root, str(p.relative_to(base))) for p in sorted(found)]


def find_leftovers(
    butler: AbstractButler,
    scratch: Iterable[str | Path] = (),
    *,
    older: float = _HOUR,
    run: str | None = None,
) -> list[Leftover]:
    """Find what interrupted writes and killed workers left behind.

    Parameters
    ----------
    butler : AbstractButler
        The repository.
    scratch : iterable of path, optional
        Folders for scratch to look into; folders in memory are looked into in any case.
    older : float, optional
        A temporary file that belongs to no run of which the state is known may be in the making, so it
        counts only when it was not touched for so many seconds.
    run : str, optional
        Look only at this run's files.
    """
    root = butler.root
    runs = [f for f in _runs(root) if run is None or f.run == run]
    idle = [f"{root}/{f.run}/" for f in runs if not is_active(f)]
    busy = [f"{root}/{f.run}/" for f in runs if is_active(f)]
    found = []
    now = time.time()
    for path in Datastore(root).temporary_files():
        ours = path.startswith(tuple(idle))
        if path.startswith(tuple(busy)) or (run is not None and not ours):
            continue
        try:
            state = os.lstat(path)
        except OSError:
            continue
        if ours or now - state.st_mtime > older:
            found.append(Leftover(path, state.st_size, "temporary file of an interrupted write"))
    for base in dict.fromkeys([memory_folder(), *map(str, scratch)]):
        for path, size in sweep_scratch(base, dry_run=True):
            found.append(Leftover(path, size, "scratch of a process that is gone"))
    return found


def remove_leftovers(found: Iterable[Leftover]) -> Deleted:
    """Delete what was found; what is gone meanwhile does not count."""
    done = Deleted()
    for each in found:
        try:
            shutil.rmtree(each.path) if os.path.isdir(each.path) else os.unlink(each.path)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise ExecutionError(f"{each.path} cannot be deleted: {error.strerror or error}") from error
        done.add(Deleted(1, each.size))
    return done


# -- intermediates ---------------------------------------------------------------------------------


@attrs.frozen
class _Intermediates:
    doomed: list[Doomed]
    unremakable: int
    """Quanta whose outputs would go but could not be remade."""


def delete_intermediates(
    plan: ScienceDag,
    butler: AbstractButler,
    retain: Mapping[str, str],
    *,
    dry_run: bool = False,
    including_unremakable: bool = False,
) -> tuple[Deleted, int]:
    """Delete those intermediates of a run that no longer have a reason to stay.

    Parameters
    ----------
    plan : ScienceDag
        The run's plan.
    butler : AbstractButler
        The repository.
    retain : Mapping
        As for `executors.keeping.retention.policies_for`.
    dry_run : bool, optional
        Whether to delete nothing.
    including_unremakable : bool, optional
        Whether to delete, too, what could not be remade because something it was made from is gone.

    Returns
    -------
    Deleted
        What was, or would be, deleted.
    int
        How many quanta's outputs stay because they could not be remade.

    Raises
    ------
    ExecutionError
        The run is being executed, or a policy does not fit the plan.
    """
    policies = policies_for(plan, retain)
    folder = RunFolder(butler.root, plan.meta.output_run)
    if not folder.journal.is_dir():
        raise ExecutionError(f"run {folder.run!r} has no journal: nothing was executed into it")
    datastore = Datastore.open(butler.root)
    lock = folder.lock()
    try:
        found = replay(folder, np.asarray(plan.identities), exists=Presence(datastore))
        keeper = Keeper(plan, policies, found.statuses, found.deleted)
        doomed = [*keeper.due(), *keeper.at_end(found.statuses)]
        kept = 0
        if not including_unremakable:
            doomed, kept = _only_remakable(plan, datastore, doomed)
        if dry_run or not doomed:
            return _measure(plan, datastore, doomed), kept
        header = Header(
            run=folder.run,
            plan=plan_identity(plan),
            quanta=plan.n_quanta,
            tasks=tuple((t.label, t.first, t.count) for t in plan.tasks),
            repository=plan.meta.repository,
            role="cleaner",
        )
        journal = Journal(folder, header)
        try:
            deleter = Deleter(plan, butler, datastore, journal, lambda q: int(found.numbers[q]))
            deleter.write_down(doomed)
            problem = deleter.delete()
        finally:
            journal.close()
        if problem:
            raise ExecutionError(problem)
        return deleter.total, kept
    finally:
        lock.release()


def _measure(plan: ScienceDag, datastore: Datastore, doomed: Iterable[Doomed]) -> Deleted:
    total = Deleted()
    for each in doomed:
        for dataset in datasets_of(plan, each):
            location = datastore.location_for(type(dataset), dataset.dataId, plan.meta.output_run)
            try:
                total.add(Deleted(1, os.stat(datastore.path(location)).st_size))
            except OSError:
                continue
    return total


def _only_remakable(
    plan: ScienceDag, datastore: Datastore, doomed: Sequence[Doomed]
) -> tuple[list[Doomed], int]:
    """Leave out what was made, however indirectly, from files that are gone."""
    exists = Presence(datastore)
    lost = np.zeros(plan.n_quanta, bool)
    for node, table in zip(plan.tasks, plan.quantum_tables, strict=True):
        for dataset_type, edges in table.inputs.items():
            rows, owners = edges.all_rows(), edges.owners() + np.int64(node.first)
            datasets = plan.datasets[dataset_type]
            makers = (
                plan.producers[dataset_type].table(datasets.n)
                if dataset_type in plan.producers
                else np.full(datasets.n, -1, np.int32)
            )
            gone = np.zeros(datasets.n, bool)
            if datasets.locations is not None:
                outside = np.unique(rows[makers[rows] < 0])
                gone[outside] = [not exists(datasets.locations[r].partition("#")[0]) for r in outside]
            gone |= (makers >= 0) & lost[makers]
            lost[owners[gone[rows]]] = True
    kept: set[int] = set()
    left = []
    for each in doomed:
        stay = {q for q in each.quanta if lost[q]}
        kept |= stay
        quanta = tuple(q for q in each.quanta if q not in stay)
        if quanta:
            left.append(Doomed(each.dataset_type, quanta))
    return left, len(kept)


# -- whole runs ------------------------------------------------------------------------------------


@attrs.frozen
class RunContents:
    """What a run holds."""

    run: str
    datasets: int
    size: int
    """Bytes, as registered."""
    unremakable: int
    """How many of the datasets no plan can make again."""
    why: str
    """Why that is so."""
    locations: tuple[str, ...]
    """Of all its files that are the repository's."""


def look_into_run(butler: AbstractButler, run: str) -> RunContents:
    """Return what a run holds, and how much of it could not be remade.

    Raises
    ------
    CollectionError
        There is no such run.
    """
    infos = {c.name: c for c in butler.collection_infos()}
    if run not in infos or infos[run].kind.value != "run":
        runs = [name for name, info in infos.items() if info.kind.value == "run"]
        raise CollectionError(
            f"there is no run {run!r}{did_you_mean(run, runs)}; there are {', '.join(runs) or 'none'}"
        )
    provenance = butler.run_provenance(run)
    made = _made_in(butler, run)
    sources = [str(c) for c in provenance.get("plan", {}).get("collections", ())]
    lost = [c for c in sources if c not in infos]
    count = size = unremakable = 0
    locations: set[str] = set(made)
    for dataset_type in butler.dataset_types().values():
        with butler.reader(collections=[run]) as reader:
            rows = reader.datasets(dataset_type)
        for location, each in zip(rows.locations, np.asarray(rows.sizes).tolist(), strict=True):
            count += 1
            size += max(int(each), 0)
            if Datastore.is_ours(location):
                locations.add(location)
            known = location in made or (bool(provenance) and not dataset_type.units)
            unremakable += bool(lost) or not known
    why = ""
    if unremakable:
        why = (
            f"they were made from {', '.join(lost)}, which is gone"
            if lost
            else "no plan made them: they were ingested or put by hand"
        )
    return RunContents(run, count, size, unremakable, why, tuple(sorted(locations)))


def _made_in(butler: AbstractButler, run: str) -> set[str]:
    """Return the locations of all that a run's journal says was made."""
    found = replay(RunFolder(butler.root, run))
    succeeded = np.flatnonzero(found.statuses == _SUCCEEDED).tolist()
    types = butler.dataset_types()
    return {r.location for a in found.attempts(succeeded, types) for r in a.records}


def remove_run(butler: AbstractButler, contents: RunContents) -> Deleted:
    """Delete a run: its datasets, its files, its journal.

    What is to go is written down first, so that a removal which is broken off is finished by calling
    `unfinished_removals`.

    Raises
    ------
    ExecutionError
        It is being executed.
    CollectionError
        It is in a chain.
    """
    folder = RunFolder(butler.root, contents.run)
    folder.make()
    lock = folder.lock()
    try:
        if any(is_held(p) for p in folder.journal.glob("*.jsonl")):
            raise ExecutionError(f"run {contents.run!r} still has workers; wait until they have ended")
        chains = [c.name for c in butler.collection_infos() if contents.run in c.children]
        if chains:
            raise CollectionError(
                f"run {contents.run!r} is in the chain {', '.join(chains)}; take it out of there first"
            )
        datastore = Datastore.open(butler.root)
        mark = folder.path / _MARK
        value: dict[str, Any] = {"run": contents.run, "locations": list(contents.locations)}
        temporary = mark.with_name(f".tmp-{os.getpid()}-{_MARK}")
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(value, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(mark)
        return _finish(butler, folder, datastore, contents.locations)
    finally:
        lock.release()


def unfinished_removals(butler: AbstractButler, *, dry_run: bool = False) -> list[tuple[str, Deleted]]:
    """Finish removing runs whose removal was broken off; return which these were."""
    done = []
    for folder in _runs(butler.root):
        mark = folder.path / _MARK
        if not mark.exists() or is_active(folder):
            continue
        locations = json.loads(mark.read_text("utf-8"))["locations"]
        gone = Deleted() if dry_run else _finish(butler, folder, Datastore.open(butler.root), locations)
        done.append((folder.run, gone))
    return done


def _finish(
    butler: AbstractButler, folder: RunFolder, datastore: Datastore, locations: Iterable[str]
) -> Deleted:
    gone = Deleted()
    for location in locations:
        try:
            gone.add(Deleted(1, os.stat(datastore.path(location)).st_size))
        except OSError:
            continue
    if folder.run in {c.name for c in butler.collection_infos()}:
        butler.remove_collection(folder.run)
    for location in locations:
        datastore.remove(location)
    for entry in folder.path.iterdir():  # what says that the run is to go goes last
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name != _MARK:
            entry.unlink()
    (folder.path / _MARK).unlink(missing_ok=True)
    for empty in (folder.path, *folder.path.parents):
        if empty.name == "runs":
            break
        try:
            empty.rmdir()
        except OSError:
            break
    return gone

"""Opening a run: is the plan of this repository, is the run ours to write, and what is done already.

A run belongs to the quanta that have written in it. Another plan may go on in it (a subset, an extended one,
a rebatched one: quanta are known by their identities), as long as it would not write over what is there.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from executors.driving.jobrequests import task_tags
from executors.host.processes import end_holders, is_alive
from executors.host.resources import environment
from executors.journal.plankeeping import keep_plan
from executors.journal.replay import Replay, replay
from executors.journal.runfolder import RunFolder, is_held
from executors.keeping.deletion import without
from executors.keeping.leftovers import Presence, sweep
from executors.keeping.retention import remake
from executors.outcome import Attempt, QuantumStatus
from executors.quanta.taskset import TaskSet
from graphbuilder.dag.dag import ScienceDag
from graphbuilder.dag.values import TaskNode
from supertask.butler.content import checksum_file
from supertask.butler.datastore import Datastore
from supertask.butler.port import AbstractButler, CollectionKind
from supertask.configs.identities import canonical, digest
from supertask.datasets import Dataset
from supertask.errors import DatasetNotFoundError, ExecutionError
from supertask.pipelines.taskdefs import config_type, overrides_type
from supertask.rows import FileRecord
from supertask.tasks.tags import check_tags

__all__ = [
    "check_repository",
    "earlier_work",
    "plan_identity",
    "prepare_repository",
    "registered_before",
    "run_tags",
    "wait_for_workers",
]

_PATIENCE = 15.0
_PROMPT = 1.0
"""Seconds in which workers are given to end with their driver before it is looked for what they left."""
_SHOWN = 3
_SUCCEEDED = QuantumStatus.SUCCEEDED.code


def check_repository(plan: ScienceDag, butler: AbstractButler) -> str:
    """Return the root of the repository that a plan is to be run in.

    Raises
    ------
    ExecutionError
        The plan was made from another repository, or this one is not on disk.
    """
    root = getattr(butler, "root", None)
    if not root:
        raise ExecutionError(
            f"{butler!r} keeps nothing on disk: plans are run in repositories that have a folder"
        )
    if plan.meta.repository != butler.repository_id:
        raise ExecutionError(
            f"the plan was made from another repository: {plan.meta.butler_root} "
            f"({plan.meta.repository[:12]}…), and this is {root} ({butler.repository_id[:12]}…); open that "
            "one, or plan again from this one"
        )
    return str(root)


def plan_identity(plan: ScienceDag) -> str:
    """Return 32 hexadecimal digits that tell which quanta a plan has, and where they write."""
    whole = blake2b(plan.meta.output_run.encode(), digest_size=16)
    whole.update(np.ascontiguousarray(np.asarray(plan.identities)))
    return whole.hexdigest()


def wait_for_workers(folder: RunFolder, patience: float = _PATIENCE) -> None:
    """Wait until no process of an earlier driver runs quanta any more: none may run twice at once.

    Raises
    ------
    ExecutionError
        Some still do; names them.
    """
    began = time.monotonic()
    until = began + patience
    while alive := [p for p in sorted(folder.journal.glob("*.jsonl")) if is_held(p)]:
        if time.monotonic() > until:
            raise ExecutionError(
                f"run {folder.run!r} still has {len(alive)} processes of an earlier driver at work: "
                f"{', '.join(_writer(p) for p in alive[:_SHOWN])}; they should have ended with it. Wait, or "
                "stop them, and run the same again"
            )
        if time.monotonic() - began > _PROMPT:
            _end_orphans(alive)
        time.sleep(0.02)


def _end_orphans(journals: Sequence[Path]) -> None:
    """End what holds journals of workers of this machine that have ended: what their tasks started."""
    dead = []
    for path in journals:
        host, _, pid = _writer(path).removeprefix("worker-").rpartition("-")
        if host == socket.gethostname() and pid.isdecimal() and not is_alive(int(pid)):
            dead.append(path)
    end_holders(dead)


def _writer(path: Path) -> str:
    _, _, rest = path.stem.partition("-")
    return rest


def earlier_work(plan: ScienceDag, folder: RunFolder, datastore: Datastore, *, resume: bool) -> Replay:
    """Read what earlier sessions of the run did.

    Raises
    ------
    ExecutionError
        There were some and they are not to be resumed, or another plan wrote where this one would.
    """
    found = replay(folder, np.asarray(plan.identities), exists=Presence(datastore))
    if found.headers and not resume:
        raise ExecutionError(
            f"run {folder.run!r} was begun before and is not to be resumed: resume it, or plan into another"
        )
    if found.foreign:
        ours = (datastore.location_for(type(d), d.dataId, folder.run) for d in _made(plan))
        _refuse_clash(plan, [location for location in ours if location in found.foreign])
    _doubt(plan, found, datastore)
    remake(plan, found)
    return found


def _doubt(plan: ScienceDag, found: Replay, datastore: Datastore) -> None:
    """Plan anew what ended and is not whole.

    Files get to the disk after quanta have ended, many at once, and before they are registered. So those that
    are not registered are read: a machine may have gone down before the disk had them.
    """
    late = np.flatnonzero((found.statuses == _SUCCEEDED) & (found.registered != found.numbers)).tolist()
    statuses = found.statuses.copy()
    for attempt in found.attempts(late, {t.name: t for t in plan.datasets}):
        records = without(attempt, found.deleted.get(attempt.index, ())).records
        broken = [r.location for r in records if not _is_whole(datastore, r)]
        if broken:
            sweep(datastore, broken)
            statuses[attempt.index] = QuantumStatus.PLANNED.code
            found.partial.pop(attempt.index, None)
            found.tainted.discard(attempt.index)
            found.gone.append(attempt.index)
            found.problems.append(f"{broken[0]} is not what was written there; it is made again")
    found.statuses = statuses


def _is_whole(datastore: Datastore, record: FileRecord) -> bool:
    path = datastore.path(record.location)
    try:
        return os.stat(path).st_size == record.size and checksum_file(path) == record.checksum
    except OSError:
        return False


def _made(plan: ScienceDag) -> Iterator[Dataset]:
    """Give every dataset that the plan makes, once."""
    for q in plan.quanta:
        for datasets in q.outputs.values():
            yield from datasets


def _refuse_clash(plan: ScienceDag, clash: Sequence[str]) -> None:
    if clash:
        raise ExecutionError(
            f"run {plan.meta.output_run!r} holds {len(clash)} datasets of another plan that this one would "
            f"write again, differently: {', '.join(clash[:_SHOWN])}{' …' if len(clash) > _SHOWN else ''}; "
            "what is in a run is written once, so plan into another run, or to replace it (preflight "
            "--clobber)"
        )


@attrs.frozen
class _There:
    """A dataset that is registered in the run."""

    dataset_type: type[Dataset]
    location: str
    size: int
    identity: bytes


def registered_before(plan: ScienceDag, butler: AbstractButler, datastore: Datastore) -> list[Attempt]:
    """Return, for a run without a journal, the quanta whose outputs are all registered and whole.

    So a run whose journal was lost is not run again. Outputs of quanta that have only some are unregistered
    and deleted, to be made again.

    Raises
    ------
    ExecutionError
        Other datasets are registered where this plan would write.
    """
    run = plan.meta.output_run
    there = {t.location: t for t in _registered(plan, butler, run)}
    if not there:
        return []
    finished, clash = [], []
    for i in range(plan.n_quanta):
        record = plan.record(i)
        outputs = [d for datasets in record.quantum.outputs.values() for d in datasets]
        places = [datastore.location_for(type(d), d.dataId, run) for d in outputs]
        known = [(d, there[p]) for d, p in zip(outputs, places, strict=True) if p in there]
        clash += [t.location for d, t in known if t.identity != record.identities[d]]
        whole = [(d, t) for d, t in known if datastore.exists(t.location)]
        if clash or not known:
            continue
        if len(whole) < len(outputs):
            butler.remove([d for d, _ in known], run=run)
            continue
        records = tuple(FileRecord(d, t.location, t.size, "", t.identity) for d, t in whole)
        finished.append(
            Attempt(
                index=i,
                identity=record.identity,
                label=record.label,
                dataId=record.quantum.dataId,
                status=QuantumStatus.SUCCEEDED,
                reason="its outputs were registered in the run before",
                records=records,
            )
        )
    _refuse_clash(plan, clash)
    return finished


def _registered(plan: ScienceDag, butler: AbstractButler, run: str) -> Iterator[_There]:
    if run not in {c.name for c in butler.collection_infos()}:
        return
    known = butler.dataset_types()
    with butler.reader(collections=[run]) as reader:
        for dataset_type in plan.producers:
            if dataset_type.name in known:
                rows = reader.datasets(dataset_type)
                digests = rows.identities.tobytes()
                for i, location in enumerate(rows.locations):
                    yield _There(dataset_type, location, int(rows.sizes[i]), digests[16 * i : 16 * i + 16])


def run_tags(butler: AbstractButler, run: str, tags: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tags of a run: what earlier sessions gave it, and over it `tags`."""
    there = run in {c.name for c in butler.collection_infos()}
    found = butler.run_provenance(run).get("tags", {}) if there else {}
    return {**found.get("run", {}), **check_tags(tags, "this run")}


def prepare_repository(
    plan: ScienceDag,
    butler: AbstractButler,
    datastore: Datastore,
    tasks: TaskSet,
    tags: Mapping[str, Any] | None = None,
) -> None:
    """Make the run, record what made it, and write what is known before any quantum runs.

    Written are each task's configuration (``<label>_config``), what is otherwise for some data
    (``<label>_overrides``), and its init outputs. Doing it again does no harm.

    Raises
    ------
    ExecutionError
        A task cannot be constructed, or the run was made with other configurations.
    RepositoryError
        The repository cannot be written.
    """
    run = plan.meta.output_run
    butler.create_collection(run, CollectionKind.RUN)
    for dataset_type in plan.producers:
        butler.register_type(dataset_type)
    found = butler.run_provenance(run)
    now = {**environment(), "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    sessions = [*found.get("sessions", ()), now]
    of_types = {
        t.name: of_task
        for label, of_task in task_tags(plan, tasks).items()
        for t in tasks[label].getDatasetClasses().outputs.values()
        if of_task
    }
    provenance = {
        "tags": {"run": dict(tags or {}), "types": found.get("tags", {}).get("types", {}) | of_types},
        "plan": {
            "identity": plan_identity(plan),
            "quanta": plan.n_quanta,
            **{k: v for k, v in attrs.asdict(plan.meta).items() if k not in {"unit_model", "steps"}},
        },
        "tasks": found.get("tasks", {})
        | {
            t.label: {
                "class": t.class_path,
                "version": t.version,
                "config": t.config,
                "key": t.key.hex(),
                "source": t.source,
                **({"variants": _variants(plan, t)} if t.variants else {}),
            }
            for t in plan.tasks
        },
        "sessions": sessions,
    }
    butler.set_run_provenance(run, provenance)
    keep_plan(plan, RunFolder(datastore.root, run), plan_identity(plan))
    records = []
    for node in plan.tasks:
        values: dict[type[Dataset], Any] = {config_type(node.label): node.config, **tasks.schemas(node.label)}
        overrides = plan.meta.pipeline.get("tasks", {}).get(node.label, {}).get("overrides")
        if overrides:
            values[overrides_type(node.label)] = overrides
        for dataset_type, value in values.items():
            said = (canonical(overrides),) if overrides and value is overrides else ()
            identity = digest(b"init output", dataset_type.name.encode(), node.key, *said)
            record = _written_once(
                butler,
                datastore,
                run,
                dataset=dataset_type(),
                value=value,
                identity=identity,
                label=node.label,
            )
            if record is not None:
                records.append(record)
    if records:
        butler.register(run, records, skip_existing=True)


def _variants(plan: ScienceDag, node: TaskNode) -> list[dict[str, Any]]:
    """Return the variants of a task as plain data, each with how many quanta have it."""
    counts = plan.variant_counts(node.label)
    return [{**v.plain(), "quanta": n} for v, n in zip(node.variants, counts, strict=True)]


def _written_once(
    butler: AbstractButler,
    datastore: Datastore,
    run: str,
    *,
    dataset: Dataset,
    value: Any,
    identity: bytes,
    label: str,
) -> FileRecord | None:
    """Write an init output unless it is there; return its record if it is new."""
    butler.register_type(type(dataset))
    try:
        known = butler.locate(dataset, collections=[run])
    except DatasetNotFoundError:
        location = butler.location_for(dataset, run)
        sweep(datastore, [location])  # of a session that was killed while it wrote this
        written = datastore.write(value, type(dataset), location, what=dataset)
        written.publish()
        return FileRecord(dataset, location, written.size, written.checksum, identity)
    if known.identity != identity:
        raise ExecutionError(
            f"run {run!r} was made with another configuration of task {label!r} ({dataset.name!r} differs); "
            "what is in a run is written once, so plan into another run"
        )
    return None

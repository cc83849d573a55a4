"""Removes what a plan replaces before it runs: in the journal first, then done, and done again if killed.

The line in the journal is::

    {"event":"replaced","token":"…","quanta":["<identity>", …],"indices":[7, …],"locations":["…", …]}

Its quanta are those of this plan that are to run again and those of other plans that had made the same (index
-1): from that line on neither have succeeded. The token tells one clobbering plan from the next, so that a
session that goes on with a plan replaces nothing twice, and finishes what its forerunner did not come to.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import numpy as np

from executors.journal.journal import Header, Journal
from executors.journal.replay import Replay, replay
from executors.journal.runfolder import RunFolder
from executors.keeping.leftovers import sweep
from executors.outcome import QuantumStatus
from graphbuilder.dag.dag import ScienceDag
from graphbuilder.dag.values import TaskNode
from supertask.butler.datastore import Datastore
from supertask.butler.port import AbstractButler
from supertask.classpath import load_class
from supertask.configs.identities import canonical, digest
from supertask.connections.fields import FieldRole
from supertask.datasets import Dataset
from supertask.errors import DatasetNotFoundError
from supertask.pipelines.taskdefs import config_type, overrides_type
from supertask.tasks.supertask import SuperTask

__all__ = ["clear_replaced"]

_LINE = 5_000
"""Locations in one line of the journal."""


@attrs.frozen
class _Output:
    index: int
    dataset: Dataset
    location: str


def clear_replaced(plan: ScienceDag, butler: AbstractButler, datastore: Datastore, folder: RunFolder) -> int:
    """Remove from the output run what a plan replaces, where it is a plan that does.

    To be called by the run's driver, before it reads what earlier sessions did.

    Returns
    -------
    int
        How many datasets were removed.

    Raises
    ------
    ExecutionError
        The journal cannot be written; nothing is removed then.
    StorageError
        A file cannot be deleted; the next session tries again.
    """
    replaces, run = plan.meta.replaces, plan.meta.output_run
    if replaces is None or run not in {c.name for c in butler.collection_infos()}:
        return 0
    found = replay(folder, np.asarray(plan.identities))
    noted = found.replaced.get(replaces.token, set())
    known = _registered(plan, butler)
    fresh: list[_Output] = []
    rest: list[_Output] = []
    for output in _outputs(plan, datastore):
        succeeded = found.statuses[output.index] == QuantumStatus.SUCCEEDED.code
        if output.location in noted:
            rest += [] if succeeded else [output]
        elif succeeded or output.location in known or output.location in found.foreign:
            fresh.append(output)
    if fresh:
        _note(plan, folder, fresh, found, replaces.token)
    gone = [*rest, *fresh]
    for begin in range(0, len(gone), _LINE):
        part = gone[begin : begin + _LINE]
        butler.remove([o.dataset for o in part], run=run, skip_missing=True)
        sweep(datastore, (o.location for o in part))  # the registry need not know of all of them
    for node in plan.tasks:
        _remove_init_outputs(plan, node, butler, datastore)
    return len(gone)


def _outputs(plan: ScienceDag, datastore: Datastore) -> Iterator[_Output]:
    run = plan.meta.output_run
    for index, quantum in enumerate(plan.quanta):
        for datasets in quantum.outputs.values():
            for d in datasets:
                yield _Output(index, d, datastore.location_for(type(d), d.dataId, run))


def _registered(plan: ScienceDag, butler: AbstractButler) -> set[str]:
    known = butler.dataset_types()
    found: set[str] = set()
    with butler.reader(collections=[plan.meta.output_run]) as reader:
        for dataset_type in plan.producers:
            if dataset_type.name in known:
                found.update(reader.datasets(dataset_type).locations)
    return found


def _note(plan: ScienceDag, folder: RunFolder, outputs: list[_Output], found: Replay, token: str) -> None:
    """Write in the journal what is to go, and see to it that it is on the disk."""
    header = Header(
        run=plan.meta.output_run,
        plan="",
        quanta=plan.n_quanta,
        tasks=tuple((t.label, t.first, t.count) for t in plan.tasks),
        repository=plan.meta.repository,
        role="clobber",
    )
    journal = Journal(folder, header)
    try:
        for begin in range(0, len(outputs), _LINE):
            part = outputs[begin : begin + _LINE]
            quanta = {plan.identities[o.index].tobytes().hex(): o.index for o in part}
            strange = {found.foreign[o.location].decode(): -1 for o in part if o.location in found.foreign}
            both = {**strange, **quanta}
            said: Mapping[str, Any] = {
                "event": "replaced",
                "token": token,
                "quanta": list(both),
                "indices": list(both.values()),
                "locations": [o.location for o in part],
            }
            journal.write(json.dumps(said, separators=(",", ":")))
        journal.sync()
    finally:
        journal.close()


def _remove_init_outputs(
    plan: ScienceDag, node: TaskNode, butler: AbstractButler, datastore: Datastore
) -> None:
    """Remove what was written before any quantum ran, where it is of another configuration."""
    overrides = plan.meta.pipeline.get("tasks", {}).get(node.label, {}).get("overrides")
    config = load_class(node.class_path, SuperTask).ConfigClass.from_dict(node.config, node.label)
    types = [config_type(node.label), overrides_type(node.label)]
    types += [f.dataset_type for f in config.fields_of(FieldRole.INIT_OUTPUT).values()]
    for dataset_type in types:
        said = (canonical(overrides),) if overrides and dataset_type.name.endswith("_overrides") else ()
        wanted = digest(b"init output", dataset_type.name.encode(), node.key, *said)
        try:
            there = butler.locate(dataset_type(), collections=[plan.meta.output_run])
        except DatasetNotFoundError:
            continue
        if there.identity != wanted:
            butler.remove([dataset_type()], run=plan.meta.output_run, skip_missing=True)
            sweep(datastore, [there.location])

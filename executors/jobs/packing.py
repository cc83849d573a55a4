"""Packs a bundle: what its job must know in one small file, and what it reads beside it."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from executors.decisions.work import Work
from executors.jobs.belongings import send_along
from executors.jobs.bundlefile import write_bundle
from executors.jobs.folder import JobFolder
from executors.journal.journal import Header
from executors.keeping.retention import consumers_of
from executors.quanta.jobfolders import JobFolders
from executors.quanta.surroundings import SurroundingsSpec
from graphbuilder.dag.dag import ScienceDag
from graphbuilder.dag.parameters import parameter_values
from graphbuilder.dag.values import QuantumRecord, TaskNode
from supertask.butler.datastore import Datastore
from supertask.datasets import Dataset
from supertask.errors import ExecutionError

__all__ = ["Packer"]

_HDU = "#hdu="


@attrs.frozen(kw_only=True)
class Packer:
    """Packs bundles of one run."""

    plan: ScienceDag
    datastore: Datastore
    """Files of the repository."""
    header: Header
    """Of the run's journal."""
    init_inputs: Sequence[tuple[str, str, str]] = ()
    """Init inputs from outside of the plan: name, storage format, location."""
    limits: Mapping[str, Sequence[tuple[float | None, int | None]]] = attrs.field(factory=dict)
    """Task label → seconds and bytes that its quanta may use: one for all, or one for each variant."""
    elide: tuple[str, ...] = ()
    """Names of dataset types that need not leave a bundle whose quanta alone read them."""
    surroundings: SurroundingsSpec | None = None
    """Of each call."""
    folders: JobFolders | None = None
    """Makes the folders for people to look into, if these are wanted."""
    staged: bool = True
    """Whether the inputs are sent along and the outputs come back in the folder; else the job works in the
    repository, which it must see under the same path."""

    def pack(
        self,
        work: Work,
        folder: Path,
        *,
        numbers: Mapping[int, int] | None = None,
        missing: Mapping[int, frozenset[bytes]] | None = None,
        memory: Mapping[int, int] | None = None,
        attempt: int = 1,
        waits: Mapping[int, Sequence[int]] | None = None,
        after: Mapping[str, Iterable[int]] | None = None,
    ) -> JobFolder:
        """Make the folder of a job.

        Parameters
        ----------
        work : Work
            What is to be run.
        folder : Path
            The folder to make.
        numbers, missing, memory : Mapping, optional
            As for `Performer.perform`.
        attempt : int, optional
            Which job of the same bundle this is.
        waits : Mapping, optional
            Quantum → those outside that it depends on, where these have not ended.
        after : Mapping, optional
            Name of a job beside this one → which of these it runs.

        Raises
        ------
        ExecutionError
            The folder is there already, or cannot be written.
        """
        job = JobFolder(folder)
        try:
            folder.mkdir(parents=True)
            files = self._send(work, folder) if self.staged else {}
            around = self._around(work, folder, numbers or {})
        except FileExistsError:
            raise ExecutionError(f"{folder} is there already; a job needs a folder of its own") from None
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise ExecutionError(f"job {folder} cannot be packed: {error}") from error
        identities = self.plan.identities
        before = {p for ps in (waits or {}).values() for p in ps}
        said = self._describe(work, before)
        said |= {
            "waits": {q: list(ps) for q, ps in (waits or {}).items()},
            "after": {n: [(p, identities[p].tobytes().hex()) for p in ps] for n, ps in (after or {}).items()},
            "attempt": attempt,
            "numbers": dict(numbers or {}),
            "missing": {q: [m.hex() for m in left] for q, left in (missing or {}).items()},
            "memory": dict(memory or {}),
            "files": files,
            "around": around,
        }
        write_bundle(job.bundle, said)
        return job

    # -- what is to be known ------------------------------------------------------------------

    def _describe(self, work: Work, before: Collection[int]) -> dict[str, Any]:
        plan = self.plan
        outside = {p for told in (work.absent, work.lost, work.behind) for ps in told.values() for p in ps}
        outside.update(before)
        records = plan.records([*work.quanta, *sorted(outside - set(work.quanta))])
        sides = [side for r in records for side in (r.quantum.inputs, r.quantum.outputs)]
        types = {t.name: t for side in sides for t in side}
        return {
            "run": plan.meta.output_run,
            "header": attrs.asdict(self.header),
            "root": "" if self.staged else self.datastore.root,
            "model": plan.meta.unit_model,
            "templates": {name: template.text for name, template in self.datastore.templates.items()},
            "types": [(t.name, t.units, t.storage) for t in types.values()],
            "tasks": [_plain_node(node) for node in self._tasks(records)],
            "init": list(self.init_inputs),
            "limits": {label: list(each) for label, each in self.limits.items()},
            "bundle": work.bundle,
            "quanta": list(work.quanta),
            "told": [work.absent, work.lost, work.behind],
            "successors": self._successors(work),
            "records": [_plain_record(r) for r in records],
            "elide": list(self.elide),
            "readings": self._readings(records),
        }

    def _tasks(self, records: Iterable[QuantumRecord]) -> list[TaskNode]:
        """Return the tasks of the quanta, and those before: they may make init inputs known."""
        labels = {r.label for r in records}
        last = max(i for i, node in enumerate(self.plan.tasks) if node.label in labels)
        return list(self.plan.tasks[: last + 1])

    def _successors(self, work: Work) -> dict[int, list[int]]:
        if len(work.quanta) < 2:
            return {}
        indptr, indices = self.plan.successors()
        members = set(work.quanta)
        after = {q: indices[indptr[q] : indptr[q + 1]].tolist() for q in work.quanta}
        return {q: kept for q, each in after.items() if (kept := [c for c in each if c in members])}

    def _readings(self, records: Iterable[QuantumRecord]) -> dict[str, dict[int, int]]:
        """Return how often the plan reads what each quantum makes of types that may stay in the bundle."""
        if not self.elide:
            return {}
        import numpy as np

        found = {}
        for dataset_type in {t for r in records for t in r.quantum.outputs if t.name in self.elide}:
            counts = np.bincount(consumers_of(self.plan, dataset_type)[0], minlength=self.plan.n_quanta)
            found[dataset_type.name] = {r.index: int(counts[r.index]) for r in records}
        return found

    def _around(self, work: Work, folder: Path, numbers: Mapping[int, int]) -> dict[str, Any] | None:
        spec = self.surroundings
        if spec is None:
            return None
        labels = {self.plan.task_of(q).label for q in work.quanta}
        kept = self.folders.reserve(work, numbers) if self.folders is not None else None
        if self.staged:
            send_along(folder, spec, self.plan.records(work.quanta))
            if kept is not None:
                # What is written there comes home to the one that was made here.
                here = folder / kept.relative_to(spec.root)
                here.mkdir(parents=True)
                kept = here.relative_to(folder)
        return {
            "tags": {label: dict(spec.tags.get(label, {})) for label in labels},
            "environ": {label: list(map(dict, spec.environ[label])) for label in labels & set(spec.environ)},
            "folder": "" if kept is None else str(kept),
        }

    # -- what is sent along -------------------------------------------------------------------

    def _send(self, work: Work, folder: Path) -> dict[str, str]:
        """Link or copy inputs into the folder; return location → path there."""
        place, run = self.datastore.location_for, self.plan.meta.output_run
        wanted: dict[str, None] = {location: None for _, _, location in self.init_inputs}
        made: set[Dataset] = set()
        records = self.plan.records(work.quanta)
        for record in records:
            made.update(*record.quantum.outputs.values())
        for record in records:
            for dataset_type, datasets in record.quantum.inputs.items():
                for dataset in datasets:
                    if dataset not in made:
                        known = record.locations.get(dataset)
                        wanted[known or place(dataset_type, dataset.dataId, run)] = None
                    # What is made inside may have been made before: by quanta that are not run again.
        sent: dict[str, str] = {}
        for location in wanted:
            plain = location.partition(_HDU)[0]
            if plain in sent:
                continue
            source = self.datastore.path(plain)
            name = f"in/{len(sent)}-{os.path.basename(source)}"
            if _bring(source, folder / name):
                sent[plain] = name
        return sent


def _bring(source: str, target: Path) -> bool:
    """Link a file where it is wanted, or copy it; return whether there is one."""
    target.parent.mkdir(exist_ok=True)
    try:
        os.link(source, target)
    except FileNotFoundError:
        return False  # left out by who makes it: what must be there the job finds missing
    except OSError as error:
        if error.errno not in {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS}:
            raise
        shutil.copyfile(source, target)
    return True


def _plain_node(node: TaskNode) -> dict[str, Any]:
    said = attrs.asdict(node, filter=lambda field, _: field.name != "variants")
    return {**said, "key": node.key.hex(), "variants": [v.plain() for v in node.variants]}


def _plain_record(record: QuantumRecord) -> dict[str, Any]:
    quantum = record.quantum
    sides = [
        [
            (
                t.name,
                [(dict(d.dataId), record.identities[d].hex(), record.locations.get(d, "")) for d in each],
            )
            for t, each in side.items()
        ]
        for side in (quantum.inputs, quantum.outputs)
    ]
    return {
        "index": record.index,
        "label": record.label,
        "identity": record.identity.hex(),
        "dataId": None if quantum.dataId is None else dict(quantum.dataId),
        "parameters": parameter_values(quantum.parameters),
        "minimums": {t.name: n for t, n in record.minimums.items()},
        "variant": record.variant,
        "sides": sides,
    }

"""Packs a bundle: what its job must know in one small file, and what it reads beside it."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
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

__all__ = ["Packer", "elsewhere"]

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
    _counted: dict[str, Any] = attrs.field(factory=dict, init=False)

    def pack(
        self,
        work: Work,
        folder: Path,
        *,
        numbers: Mapping[int, int] | None = None,
        missing: Mapping[int, frozenset[bytes]] | None = None,
        memory: Mapping[int, int] | None = None,
        attempt: int = 1,
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

        Raises
        ------
        ExecutionError
            The folder is there already, or cannot be written.
        """
        job = JobFolder(folder)
        try:
            folder.mkdir(parents=True)
            files = self._send(work, folder) if self.staged else {}
            around = self.around(work, folder, numbers or {})
        except FileExistsError:
            raise ExecutionError(f"{folder} is there already; a job needs a folder of its own") from None
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise ExecutionError(f"job {folder} cannot be packed: {error}") from error
        said = self._describe(work)
        said |= {
            "waits": {},
            "after": {},
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

    def _describe(self, work: Work) -> dict[str, Any]:
        records = self.plan.records([*work.quanta, *sorted(elsewhere(work))])
        sides = [side for r in records for side in (r.quantum.inputs, r.quantum.outputs)]
        labels = {r.label for r in records}
        last = max(i for i, node in enumerate(self.plan.tasks) if node.label in labels)
        return {
            **self.shared({t.name: t for side in sides for t in side}.values(), last),
            "bundle": work.bundle,
            "quanta": list(work.quanta),
            "told": [work.absent, work.lost, work.behind],
            "successors": self._successors(work),
            "records": [_plain_record(r) for r in records],
            "readings": self.readings([r.index for r in records], last),
        }

    def shared(self, types: Iterable[type[Dataset]], last: int) -> dict[str, Any]:
        """Return what is said alike of bundles.

        Parameters
        ----------
        types : iterable of dataset types
            Those of their inputs and outputs.
        last : int
            The last of the plan's tasks that any of their quanta is of; tasks before it may make init inputs
            known.
        """
        plan = self.plan
        return {
            "run": plan.meta.output_run,
            "header": attrs.asdict(self.header),
            "root": "" if self.staged else self.datastore.root,
            "model": plan.meta.unit_model,
            "templates": {name: template.text for name, template in self.datastore.templates.items()},
            "types": [(t.name, t.units, t.storage) for t in types],
            "tasks": [_plain_node(node) for node in plan.tasks[: last + 1]],
            "init": list(self.init_inputs),
            "limits": {label: list(each) for label, each in self.limits.items()},
            "elide": list(self.elide),
        }

    def _successors(self, work: Work) -> dict[int, list[int]]:
        if len(work.quanta) < 2:
            return {}
        indptr, indices = self.plan.successors()
        members = set(work.quanta)
        after = {q: indices[indptr[q] : indptr[q + 1]].tolist() for q in work.quanta}
        return {q: kept for q, each in after.items() if (kept := [c for c in each if c in members])}

    def readings(self, quanta: Iterable[int], last: int) -> dict[str, dict[int, int]]:
        """Return how often the plan reads what each quantum makes of types that may stay in the bundle."""
        if not self.elide:
            return {}
        found: dict[str, dict[int, int]] = {}
        for table in self.plan.quantum_tables[: last + 1]:
            for dataset_type in table.outputs:
                if dataset_type.name in self.elide:
                    counts = self._counts(dataset_type)
                    found[dataset_type.name] = {q: n for q in quanta if (n := int(counts[q]))}
        return found

    def _counts(self, dataset_type: type[Dataset]) -> Any:
        import numpy as np

        if dataset_type.name not in self._counted:
            consumers = consumers_of(self.plan, dataset_type)[0]
            self._counted[dataset_type.name] = np.bincount(consumers, minlength=self.plan.n_quanta)
        return self._counted[dataset_type.name]

    def around(self, work: Work, folder: Path, numbers: Mapping[int, int]) -> dict[str, Any] | None:
        """Return what surrounds the calls of a bundle; put what goes along in the folder, if it is staged."""
        spec = self.surroundings
        if spec is None:
            return None
        labels = self.labels(work)
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
            "environ": {
                label: list(map(dict, spec.environ[label])) for label in labels if label in spec.environ
            },
            "folder": "" if kept is None else str(kept),
        }

    def labels(self, work: Work) -> dict[str, None]:
        """Return the labels of a bundle's tasks, in order of its quanta."""
        first, last = self.plan.task_of(min(work.quanta)), self.plan.task_of(max(work.quanta))
        if first is last:
            return {first.label: None}
        return dict.fromkeys(self.plan.task_of(q).label for q in work.quanta)

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


def elsewhere(work: Work, before: Iterable[int] = ()) -> set[int]:
    """Return the quanta that a bundle speaks of and that do not run in it."""
    found = {p for told in (work.absent, work.lost, work.behind) for ps in told.values() for p in ps}
    found.update(before)
    return found.difference(work.quanta)


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

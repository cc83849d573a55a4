"""Packs bundles by hand, without a driver: as the run's journal says that things stand now."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from pathlib import Path

import attrs
import numpy as np

from executors.decisions.quorum import Quorums
from executors.decisions.schedule import Schedule
from executors.decisions.work import Work
from executors.driving.jobrequests import job_requests, surroundings_of
from executors.driving.opening import check_repository, plan_identity, run_tags
from executors.driving.retrying import Retrying, policies_of
from executors.jobs.folder import JobFolder
from executors.jobs.packing import Packer
from executors.jobs.stacking import Stack
from executors.jobs.uncollected import bundles_before, journals_of
from executors.journal.journal import Header
from executors.journal.replay import Replay, replay
from executors.journal.runfolder import RunFolder
from executors.keeping.leftovers import Presence
from executors.outcome import QuantumStatus
from executors.quanta.taskset import TaskSet, outside_init_inputs
from graphbuilder.dag.dag import ScienceDag
from supertask.butler.datastore import Datastore
from supertask.butler.limited import LimitedButler
from supertask.butler.port import AbstractButler
from supertask.errors import ExecutionError
from supertask.tasks.tokens import tokens_of

__all__ = ["HandPacker"]


@attrs.frozen
class _Open:
    packer: Packer
    found: Replay
    schedule: Schedule
    retrying: Retrying


class HandPacker:
    """Packs bundles of a plan that may run now.

    Parameters
    ----------
    plan : ScienceDag
        The plan, with bundles.
    butler : AbstractButler
        Its repository.
    plan_file : Path
        Where the plan is.
    bundling : str, optional
        Name of the plan's bundling; the last one made unless given.
    staged : bool, optional
        As for `Packer`.
    bundle : int, optional
        The one that is to be packed: what jobs before it made counts, although it was not collected.

    Raises
    ------
    ExecutionError
        The plan has no bundles, or is of another repository.
    """

    def __init__(
        self,
        plan: ScienceDag,
        butler: AbstractButler,
        plan_file: Path,
        *,
        bundling: str | None = None,
        staged: bool = False,
        bundle: int | None = None,
    ) -> None:
        self._plan = plan
        self.bundles = plan.bundling(bundling)
        if self.bundles is None:
            raise ExecutionError(f"the plan {plan_file} has no bundles: make some with `supertask batch`")
        root = check_repository(plan, butler)
        folder = RunFolder(root, plan.meta.output_run)
        self.home = folder.path / "jobs"
        datastore = Datastore.open(root)
        also: list[Path] = []
        if bundle is not None and bundle < len(self.bundles):
            also += journals_of(self.home, [bundle, *bundles_before(plan, self.bundles, bundle)])
        found = replay(folder, np.asarray(plan.identities), exists=Presence(datastore), also=also)
        init = [(t, butler.locate(t(), collections=self._searched(butler)).location)
                for t in outside_init_inputs(plan.tasks)]  # fmt: skip
        tasks = TaskSet(
            plan.tasks, LimitedButler(datastore, plan.model, {t(): where for t, where in init}, {})
        )
        jobs = job_requests(plan.tasks, tasks)
        retrying = Retrying(plan, policies_of(plan.tasks, tasks, {}, jobs), found.memory)
        around = surroundings_of(plan, tasks, jobs, root, run_tags(butler, folder.run, {}))
        header = Header(
            run=folder.run,
            plan=plan_identity(plan),
            quanta=plan.n_quanta,
            tasks=tuple((t.label, t.first, t.count) for t in plan.tasks),
            plan_file=str(plan_file.absolute()),
            repository=plan.meta.repository,
        )
        packer = Packer(
            plan=plan,
            datastore=datastore,
            header=header,
            init_inputs=[(t.name, t.storage, where) for t, where in init],
            limits={
                label: [(one.timeout, one.memory) for one in each]
                for label, each in retrying.limits.items()
                if any(each)
            },
            surroundings=around,
            staged=staged,
        )
        self.counted = sorted(
            {name for t in plan.tasks for name in tokens_of(type(tasks[t.label]), tasks[t.label].config)}
        )
        """Tokens that tasks need, and that nobody counts for what is packed by hand."""
        succeeded = found.statuses == QuantumStatus.SUCCEEDED.code
        schedule = Schedule(
            plan.successors(),
            self.bundles,
            statuses=found.statuses,
            partial=[q for q in found.partial if succeeded[q]],
            tainted=found.tainted,
            quorum=Quorums(plan, lambda label: retrying.quorums(label, tasks)),
        )
        self._open = _Open(packer, found, schedule, retrying)

    def _searched(self, butler: AbstractButler) -> list[str]:
        known = {c.name for c in butler.collection_infos()}
        return [c for c in (self._plan.meta.output_run, *self._plan.meta.collections) if c in known]

    def pack(
        self, home: Path, bundles: Collection[int] | None = None, attempt: int = 1
    ) -> Iterator[tuple[int, JobFolder]]:
        """Pack bundles that may run now into folders ``b<bundle>-<attempt>``; those that wait are left out.

        Parameters
        ----------
        home : Path
            Where to make the folders.
        bundles : collection of int, optional
            Which; all that may run now unless given.
        attempt : int, optional
            Which attempt at them this is.

        Raises
        ------
        ExecutionError
            There is no such bundle, or a folder is there already.
        """
        assert self.bundles is not None  # noqa: S101 - checked at construction
        for bundle in bundles or ():
            if bundle >= len(self.bundles):
                raise ExecutionError(
                    f"there is no bundle {bundle}: the plan has 0 to {len(self.bundles) - 1}"
                )
        while (work := self._open.schedule.take()) is not None:
            if bundles is None or work.bundle in bundles:
                folder = home / f"b{work.bundle}-{attempt}"
                numbers = self._open.found.numbers
                yield (
                    work.bundle,
                    self._open.packer.pack(
                        work,
                        folder,
                        numbers={q: int(numbers[q]) + 1 for q in work.quanta if numbers[q]},
                        missing=self._missing(work),
                        memory=self._open.retrying.granted(work.quanta),
                        attempt=attempt,
                    ),
                )

    def pack_together(self, home: Path) -> list[JobFolder]:
        """Pack all bundles that may run now in sheaves, as for an engine; each job makes its folder itself.

        Parameters
        ----------
        home : Path
            Where the folders will be.

        Raises
        ------
        ExecutionError
            They cannot be written.
        """
        found = self._open.found
        stack = Stack(self._open.packer, home, f"{time.time_ns():x}")
        jobs = []
        while (work := self._open.schedule.take()) is not None:
            numbers = {q: int(found.numbers[q]) + 1 for q in work.quanta if found.numbers[q]}
            memory = self._open.retrying.granted(work.quanta)
            jobs.append(stack.add(work, numbers=numbers, missing=self._missing(work), memory=memory))
        stack.flush()
        return list(map(JobFolder, jobs))

    def is_done(self, bundle: int) -> bool:
        """Tell whether nothing of a bundle is left to run."""
        assert self.bundles is not None  # noqa: S101 - checked at construction
        ended = (QuantumStatus.SUCCEEDED.code, QuantumStatus.NO_WORK.code)
        return bool(np.isin(self._open.found.statuses[self.bundles[bundle]], ended).all())

    def _missing(self, work: Work) -> dict[int, frozenset[bytes]]:
        partial = self._open.found.partial
        return {p: partial[p] for ps in work.absent.values() for p in ps if p in partial}

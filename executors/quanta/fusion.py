"""Fusion: which outputs of a bundle need never leave it, and when the quanta that made them have ended.

A quantum whose outputs are held in memory has ended for good when all who read them have: until then its end
is not written in the journal, so that whatever is killed in between finds it lost, and it runs again. Ends
are written readers first, for the same reason. Where a reader fails, what it read is written to the
repository before the reader's end is said, as it may be tried again elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import attrs
import numpy as np
import numpy.typing as npt

from executors.decisions.work import Work
from executors.keeping.retention import consumers_of
from executors.outcome import Attempt, Failure, QuantumStatus
from executors.quanta.planview import PlanView
from executors.workplaces.workplace import Workplace
from graphbuilder.dag.dag import ScienceDag
from graphbuilder.dag.values import QuantumRecord
from supertask.datasets import Dataset
from supertask.errors import StorageError

__all__ = ["BundleFusion", "Fusion", "Readings"]


class Readings:
    """Counts how often a plan reads what a quantum makes of a type."""

    def __init__(self, plan: ScienceDag) -> None:
        self._plan = plan
        self._counts: dict[type[Dataset], npt.NDArray[np.int64]] = {}

    def __call__(self, dataset_type: type[Dataset], quantum: int) -> int:
        """Return how often it is read, by all quanta together."""
        found = self._counts.get(dataset_type)
        if found is None:
            makers, _ = consumers_of(self._plan, dataset_type)
            found = self._counts[dataset_type] = np.bincount(makers, minlength=self._plan.n_quanta)
        return int(found[quantum])


class Fusion:
    """Finds, bundle by bundle, what need not be written.

    Parameters
    ----------
    plan : PlanView
        The plan, or a bundle's part of it.
    workplace : Workplace
        Where outputs are held.
    readings : callable
        Returns how often the plan reads what a quantum makes of a type, see `Readings`.
    """

    def __init__(
        self, plan: PlanView, workplace: Workplace, readings: Callable[[type[Dataset], int], int]
    ) -> None:
        self.plan = plan
        self.workplace = workplace
        self.readings = readings

    def of(self, work: Work) -> BundleFusion | None:
        """Return what is fused of one bundle; None where nothing is."""
        if work.bundle < 0 or len(work.quanta) < 2:
            return None
        records = dict(zip(work.quanta, self.plan.records(work.quanta), strict=True))
        return BundleFusion(self, records)


@attrs.define
class _Maker:
    """A quantum some of whose outputs are held."""

    types: frozenset[str]
    locations: tuple[str, ...]
    readers: set[int]
    """Those that have not ended for good."""
    attempt: Attempt | None = None
    """Set once it has succeeded."""


class BundleFusion:
    """What is fused of one bundle."""

    def __init__(self, fusion: Fusion, records: Mapping[int, QuantumRecord]) -> None:
        self._workplace = fusion.workplace
        self._makers: dict[int, _Maker] = {}
        self._reads: dict[int, list[int]] = {}
        """Quantum → those whose held outputs it reads."""
        elided = set(fusion.workplace.spec.elide)
        made: dict[Dataset, int] = {}
        for q, record in records.items():
            for dataset_type, datasets in record.quantum.outputs.items():
                if dataset_type.name in elided:
                    made |= dict.fromkeys(datasets, q)
        times: dict[tuple[int, type[Dataset]], int] = {}
        readers: dict[tuple[int, type[Dataset]], set[int]] = {}
        for q, record in records.items():
            for dataset_type, datasets in record.quantum.inputs.items():
                for maker in (made[d] for d in datasets if d in made):
                    key = (maker, dataset_type)
                    times[key] = times.get(key, 0) + 1
                    readers.setdefault(key, set()).add(q)
        place, run = fusion.workplace.location_for, fusion.plan.meta.output_run
        by_maker: dict[int, list[type[Dataset]]] = {}
        for (maker, dataset_type), count in times.items():
            if count == fusion.readings(dataset_type, maker):
                by_maker.setdefault(maker, []).append(dataset_type)
        for maker, types in by_maker.items():
            outputs = records[maker].quantum.outputs
            held = tuple(place(t, d.dataId, run) for t in types for d in outputs[t])
            who = set().union(*(readers[maker, t] for t in types))
            self._makers[maker] = _Maker(frozenset(t.name for t in types), held, who)
            for reader in who:
                self._reads.setdefault(reader, []).append(maker)
        self._workplace.hold(place for m in self._makers.values() for place in m.locations)

    def ended(self, attempt: Attempt) -> list[Attempt]:
        """Take an attempt that ended; return those that have ended for good now, in the order to be told."""
        maker = self._makers.get(attempt.index)
        if (
            maker is not None
            and attempt.status is QuantumStatus.SUCCEEDED
            and any(map(self._workplace.is_holding, maker.locations))
        ):
            maker.attempt = attempt
            return []
        self._makers.pop(attempt.index, None)
        if attempt.status.finished:
            return self._final(attempt)
        behind = [each for q in self._reads.get(attempt.index, ()) for each in self._written(q)]
        return [*behind, attempt]

    def close(self) -> list[Attempt]:
        """Write what is still held to the repository; return the attempts that have thereby ended."""
        found = [each for q in tuple(self._makers) for each in self._written(q)]
        self._workplace.hold(())
        return found

    def _final(self, attempt: Attempt) -> list[Attempt]:
        """Return an attempt that has ended for good, and those that ended with it."""
        told = [attempt]
        for q in self._reads.pop(attempt.index, ()):
            maker = self._makers.get(q)
            if maker is None or maker.attempt is None:
                continue
            maker.readers.discard(attempt.index)
            if not maker.readers:
                del self._makers[q]
                told += self._final(self._elided(maker))
        return told

    def _elided(self, maker: _Maker) -> Attempt:
        attempt = maker.attempt
        assert attempt is not None  # noqa: S101 - asked by the caller
        held = {place for place in maker.locations if self._workplace.is_holding(place)}
        left = tuple(r for r in attempt.records if r.location not in held)
        names = {r.dataset.name for r in attempt.records if r.location in held}
        for place in held:
            self._workplace.drop(place)
        return attrs.evolve(attempt, records=left, elided=tuple(sorted(names)))

    def _written(self, q: int) -> Iterable[Attempt]:
        """Write what a quantum made to the repository after all: its end, and those that ended with it."""
        maker = self._makers.pop(q, None)
        if maker is None or maker.attempt is None:
            return []
        attempt = maker.attempt
        try:
            for place in maker.locations:
                if self._workplace.is_holding(place):
                    self._workplace.write_back(place)
        except StorageError as error:
            for record in attempt.records:
                self._workplace.remove(record.location)
            failure = Failure("supertask.errors.StorageError", str(error))
            return [attrs.evolve(attempt, status=QuantumStatus.FAILED, failure=failure, records=())]
        return self._final(attempt)

"""Deletes what may go: in the journal first, then in the registry, then on disk.

Killed at any moment, what was to go is known to the next session, which deletes it again; that what is gone
is not there is then no loss (see `retention.remake`). The line in the journal is::

    {"event":"deleted","type":"image","quanta":["<identity>", …],"indices":[7, …],"attempts":{"7":2}}
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence

import attrs
import numpy as np
import numpy.typing as npt

from executors.journal.journal import Journal
from executors.keeping.leftovers import Presence
from executors.keeping.retention import Doomed, Keeper, names_by_quantum
from executors.outcome import Attempt
from graphbuilder.dag.dag import ScienceDag
from supertask.butler.datastore import Datastore
from supertask.butler.port import AbstractButler
from supertask.datasets import Dataset
from supertask.errors import RepositoryError

__all__ = ["Deleted", "Deleter", "datasets_of"]

_log = logging.getLogger(__name__)


@attrs.define
class Deleted:
    """What was deleted."""

    files: int = 0
    size: int = 0
    """Bytes."""

    def add(self, other: Deleted) -> None:
        """Count some more."""
        self.files += other.files
        self.size += other.size


def datasets_of(plan: ScienceDag, doomed: Doomed) -> list[Dataset]:
    """Return the datasets that are to go."""
    found: list[Dataset] = []
    tables = dict(zip((t.label for t in plan.tasks), plan.quantum_tables, strict=True))
    table = plan.datasets[doomed.dataset_type]
    for q in doomed.quanta:
        node = plan.task_of(q)
        found += table.at(tables[node.label].outputs[doomed.dataset_type].of(q - node.first))
    return found


class Deleter:
    """Deletes outputs of quanta that have ended.

    Parameters
    ----------
    plan : ScienceDag
        The plan.
    butler : AbstractButler
        The repository.
    datastore : Datastore
        Its files.
    journal : Journal
        Where it is noted before.
    number : callable
        Returns the number of a quantum's last attempt.
    keeper : Keeper, optional
        Knows what may go while a run goes on.
    """

    def __init__(
        self,
        plan: ScienceDag,
        butler: AbstractButler,
        datastore: Datastore,
        journal: Journal,
        number: Callable[[int], int],
        keeper: Keeper | None = None,
    ) -> None:
        self._plan = plan
        self._butler = butler
        self._datastore = datastore
        self._journal = journal
        self._number = number
        self._pending: list[Doomed] = []
        self.keeper = keeper
        self.total = Deleted()

    def due(self) -> list[Doomed]:
        """Return what may go once all that has ended until now outlives the machine, each once."""
        return self.keeper.due() if self.keeper is not None else []

    def take(self, doomed: Sequence[Doomed], waiting: Iterable[Attempt]) -> list[Attempt]:
        """Write down what goes, to be deleted with the next `delete`.

        To be called when outputs and journal are on the disk: what made it due must outlive the machine.

        Parameters
        ----------
        doomed : sequence of Doomed
            What goes.
        waiting : iterable of Attempt
            Those whose outputs are not registered yet.

        Returns
        -------
        list of Attempt
            The same, without the outputs that go: these are never registered.
        """
        waiting = list(waiting)
        if not doomed:
            return waiting
        self.write_down(doomed)
        names = names_by_quantum(doomed)
        return [without(a, names[a.index]) if a.index in names else a for a in waiting]

    def write_down(self, doomed: Sequence[Doomed]) -> None:
        """Note in the journal, for good, what will be deleted.

        Raises
        ------
        ExecutionError
            The journal cannot be written; nothing is deleted then.
        """
        identities = self._plan.identities
        for each in doomed:
            numbers = {q: self._number(q) for q in each.quanta}
            again = {str(q): n for q, n in numbers.items() if n != 1}
            line = {
                "event": "deleted",
                "type": each.dataset_type.name,
                "quanta": [identities[q].tobytes().hex() for q in each.quanta],
                "indices": list(each.quanta),
                **({"attempts": again} if again else {}),
            }
            self._journal.write(json.dumps(line, separators=(",", ":")))
        self._journal.sync()
        self._pending += doomed

    def delete_at_end(self, statuses: npt.NDArray[np.uint8]) -> list[str]:
        """Delete what need not stay now that the run ends; return what stands in the way."""
        doomed = self.keeper.at_end(statuses) if self.keeper is not None else []
        if not doomed:
            return []
        self.write_down(doomed)
        problem = self.delete()
        return [problem] if problem else []

    def delete(self) -> str:
        """Delete what was written down; return what stands in the way, which the next call tries again."""
        while self._pending:
            try:
                self.total.add(self._delete(self._pending[0]))
            except RepositoryError as error:
                _log.warning("what is not needed any more cannot be deleted now: %s", error)
                return f"what is not needed any more could not be deleted: {error}; the next session will"
            del self._pending[0]
        return ""

    def _delete(self, doomed: Doomed) -> Deleted:
        run = self._plan.meta.output_run
        datasets = datasets_of(self._plan, doomed)
        places = [self._datastore.location_for(type(d), d.dataId, run) for d in datasets]
        gone = Deleted()
        for place in places:
            try:
                gone.size += os.stat(self._datastore.path(place)).st_size
                gone.files += 1
            except OSError:
                continue
        self._butler.remove(datasets, run=run, skip_missing=True)
        for place in places:
            # The registry need not know of all of them.
            self._datastore.remove(place)
        return gone

    def again(self, deleted: Mapping[int, frozenset[str]]) -> None:
        """Delete what earlier sessions wrote down and did not come to delete."""
        by_type: dict[str, list[int]] = {}
        for q, names in deleted.items():
            for name in names:
                by_type.setdefault(name, []).append(q)
        there = Presence(self._datastore)
        run = self._plan.meta.output_run
        for name, quanta in sorted(by_type.items()):
            whole = Doomed(self._plan.dataset_type(name), tuple(sorted(quanta)))
            datasets = datasets_of(self._plan, whole)
            if any(there(self._datastore.location_for(type(d), d.dataId, run)) for d in datasets):
                self._pending.append(whole)


def without(attempt: Attempt, names: Iterable[str]) -> Attempt:
    """Return an attempt without its outputs of some types."""
    left = tuple(r for r in attempt.records if r.dataset.name not in names)
    return attrs.evolve(attempt, records=left)

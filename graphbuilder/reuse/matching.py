"""Which datasets of a plan are there already: its identities looked up among those registered."""

from __future__ import annotations

import os

import attrs
import numpy as np
import numpy.typing as npt

from graphbuilder.dag.dag import ScienceDag
from supertask.butler.datastore import Datastore
from supertask.butler.port import AbstractButler
from supertask.errors import StorageError
from supertask.repograph.columns import group, lookup, pack_both
from supertask.repograph.tables import DatasetTable
from supertask.rows import FileRecord, MadeRows, TextColumn

__all__ = ["Match", "gone_files", "matched"]

Bools = npt.NDArray[np.bool_]


@attrs.define(eq=False)
class Match:
    """What of a plan's datasets of one type is there."""

    found: npt.NDArray[np.int64]
    """Shape (n,): for each of the plan's datasets its row in the columns below, -1 where it is not there."""
    other: npt.NDArray[np.int64]
    """Shape (n,): row of a dataset of equal data ID and another identity, -1 where there is none."""
    lost: Bools
    """Shape (n,): whether it is registered, and its file is gone or was altered."""
    runs: tuple[str, ...]
    run: npt.NDArray[np.int64]
    """Shape (m,): in which of `runs` each row is."""
    locations: TextColumn
    sizes: npt.NDArray[np.int64]


def matched(dag: ScienceDag, rows: MadeRows, *, by_identity: bool = True) -> Match:
    """Find the datasets of a type that a plan makes among those that are there.

    Parameters
    ----------
    dag : ScienceDag
        The plan, with row IDs of units.
    rows : MadeRows
        What is there, of several runs.
    by_identity : bool, optional
        Whether equal data IDs are not enough.
    """
    there = rows.datasets
    table = dag.datasets[there.dataset_type]
    places = there.locations
    locations = places if isinstance(places, TextColumn) else TextColumn.from_strings(places)
    nothing = np.full(table.n, -1, np.int64)
    match = Match(
        nothing, nothing.copy(), np.zeros(table.n, bool), rows.runs, rows.run, locations, there.sizes
    )
    if not len(there.ids):
        return match
    if by_identity:
        wanted = dag.dataset_identities(there.dataset_type, np.arange(table.n))
        match.found = _same(wanted, there.identities, rows.run)
        open_rows = np.flatnonzero(match.found < 0)
    else:
        open_rows = np.arange(table.n)
    if len(open_rows):
        by_data_id = _of_data_id(table, rows, open_rows)
        if by_identity:
            match.other[open_rows] = by_data_id
        else:
            match.found = by_data_id
    return match


def _same(
    wanted: npt.NDArray[np.uint8], there: npt.NDArray[np.uint8], run: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Return the row of each identity, of equal ones that of the first run searched; -1 where it is not."""
    ours, theirs = (np.ascontiguousarray(d).view(np.int64).reshape(-1, 2) for d in (wanted, there))
    # Half an identity to look up by, the other half to be certain of it.
    key = theirs[:, 0]
    order = np.argsort(key) if not run.any() else np.lexsort([run, key])
    ascending = key[order]
    # In ascending order neighbours are looked up in memory that is at hand.
    way = np.argsort(ours[:, 0])
    place = np.searchsorted(ascending, ours[way, 0])
    place[place == len(ascending)] = 0
    row = order[place]
    equal = (theirs[row] == ours[way]).all(axis=1)
    found = np.empty(len(ours), np.int64)
    found[way] = np.where(equal, row, -1)
    return found


def _of_data_id(table: DatasetTable, rows: MadeRows, wanted: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return for some rows of a plan's table a dataset of equal data ID, of the first run searched, or -1."""
    space = table.space
    theirs = [space.codes(u, rows.datasets.units[u]) for u in table.columns]
    ours = [c[wanted] for c in table.columns.values()]
    left, right = pack_both(theirs, ours, space.sizes(table.columns), n=len(rows.run))
    if not table.columns:
        right = np.zeros(len(wanted), np.int64)
    first = np.argsort(rows.run, kind="stable")
    groups = group(left[first])
    place = lookup(groups.keys, right)
    starts = groups.indptr[:-1] if groups.rows is None else groups.rows[groups.indptr[:-1]]
    if not len(starts):
        return np.full(len(wanted), -1, np.int64)
    return np.where(place < 0, -1, first[starts[place]])


def gone_files(butler: AbstractButler, table: DatasetTable, match: Match, *, content: bool) -> Bools:
    """Return, for each dataset found and in order, whether its file is gone or was altered."""
    rows = np.flatnonzero(match.found >= 0)
    places = list(match.locations[match.found[rows]])
    root = butler.root
    if not root:
        return np.zeros(len(rows), bool)
    files = _Files(Datastore(root))
    gone = np.fromiter((not files.has(place) for place in places), bool, len(places))
    if content:
        runs = match.run[match.found[rows]]
        handles = table.at(rows)
        for i in np.flatnonzero(~gone).tolist():
            gone[i] = files.altered(butler.locate(handles[i], collections=[match.runs[int(runs[i])]]))
    return gone


class _Files:
    """Which files are there: each folder is listed once, which costs a fraction of asking file by file."""

    def __init__(self, datastore: Datastore) -> None:
        self._datastore = datastore
        self._listed: dict[str, frozenset[str]] = {}

    def has(self, location: str) -> bool:
        """Tell whether the file of a location is there."""
        if ":" in location or "#" in location:
            return self._datastore.exists(location)
        folder, _, name = location.rpartition("/")
        names = self._listed.get(folder)
        if names is None:
            try:
                names = frozenset(os.listdir(self._datastore.path(folder)))
            except OSError:
                names = frozenset()
            self._listed[folder] = names
        return name in names

    def altered(self, record: FileRecord) -> bool:
        """Tell whether a file is not what was registered."""
        try:
            size = os.path.getsize(self._datastore.path(record.location))
            if record.size >= 0 and size != record.size:
                return True
            return bool(record.checksum) and self._datastore.checksum(record.location) != record.checksum
        except (OSError, StorageError):
            return True

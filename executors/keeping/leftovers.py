"""What is on disk of outputs: files that a broken attempt left behind, and files that should be there.

What is in a RUN is written once, so a quantum that runs again needs a clean slate. A file that no ended
attempt of the journal speaks of counts for nothing, even if it is whole: the process may have been killed
after the file got its name and before the journal was written. It is deleted and made again.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from supertask.butler.datastore import TEMPORARY_PREFIX, Datastore

__all__ = ["Presence", "sweep"]


def sweep(datastore: Datastore, locations: Iterable[str]) -> int:
    """Delete the files of some outputs, and the temporary files of interrupted writes of these.

    Returns
    -------
    int
        How many there were.

    Raises
    ------
    StorageError
        A file cannot be deleted.
    """
    swept = 0
    for location in locations:
        folder, _, name = location.rpartition("/")
        try:
            beside = os.listdir(datastore.path(folder))
        except OSError:
            continue
        found = [n for n in beside if n.startswith(TEMPORARY_PREFIX) and n.endswith(f"-{name}")]
        if name in beside:
            found.append(name)
        for each in found:
            swept += datastore.remove(f"{folder}/{each}")
    return swept


class Presence:
    """Tells of many locations whether their files are there.

    Files that belong together lie together: after the first question about a folder it is listed whole,
    which costs a fraction of asking file by file.

    Parameters
    ----------
    datastore : Datastore
        Where the files are.
    """

    _FOLDERS = 1024

    def __init__(self, datastore: Datastore) -> None:
        self._datastore = datastore
        self._listed: dict[str, frozenset[str] | None] = {}

    def __call__(self, location: str) -> bool:
        """Tell whether the file of a location is there."""
        folder, _, name = location.rpartition("/")
        names = self._listed.get(folder)
        if names is not None:
            return name in names
        if folder not in self._listed:
            if len(self._listed) >= self._FOLDERS:
                self._listed.clear()
            self._listed[folder] = None
            return self._datastore.exists(location)
        try:
            names = frozenset(os.listdir(self._datastore.path(folder)))
        except OSError:
            names = frozenset()
        self._listed[folder] = names
        return name in names

"""The files of a repository as a job sees them: inputs that were sent along, outputs in its own folder."""

from __future__ import annotations

import os
from collections.abc import Mapping

from supertask.butler.datastore import Datastore
from supertask.butler.templates import PathTemplate

__all__ = ["JobStore"]

_HDU = "#hdu="


class JobStore(Datastore):
    """Files of one job that cannot see the repository.

    Parameters
    ----------
    root : str
        Folder of the job.
    templates : Mapping
        Dataset type, or ``default`` → path template, as in the repository.
    inputs : Mapping
        Location in the repository → path below `root` of what was sent along.
    """

    def __init__(self, root: str, templates: Mapping[str, PathTemplate], inputs: Mapping[str, str]) -> None:
        super().__init__(root, templates)
        self._inputs = inputs

    def path(self, location: str) -> str:
        """Return the absolute path of a location's file."""
        sent = self._inputs.get(location.partition(_HDU)[0])
        return super().path(location) if sent is None else os.path.join(self.root, sent)

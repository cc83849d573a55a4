"""What ran without a driver and was not collected: jobs of a bundle, and of those that it waits for.

So a bundle can be packed when its turn comes by whoever calls one bundle after another (`supertask export`),
though nobody has collected the others yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from executors.jobs.folder import JobFolder
from graphbuilder.dag.dag import ScienceDag
from graphbuilder.dag.values import Bundling

__all__ = ["attempts_at", "bundles_before", "journals_of"]


def bundles_before(plan: ScienceDag, bundling: Bundling, bundle: int) -> list[int]:
    """Return the bundles that hold what some quantum of this one depends on, without itself."""
    indptr, indices = plan.successors()
    here = np.zeros(plan.n_quanta, bool)
    here[np.asarray(bundling[bundle])] = True
    edges = np.flatnonzero(here[indices])
    before = np.zeros(plan.n_quanta, bool)
    before[np.searchsorted(indptr, edges, side="right") - 1] = True
    before &= ~here
    owners = np.repeat(np.arange(len(bundling)), np.diff(bundling.indptr))
    found: list[int] = np.unique(owners[before[np.asarray(bundling.indices)]]).tolist()
    return found


def attempts_at(home: Path, bundle: int) -> list[tuple[int, JobFolder]]:
    """Return the jobs that were packed of a bundle, by the number of the attempt."""
    found = []
    for folder in home.glob(f"b{bundle}-*"):
        number = folder.name.rpartition("-")[2]
        if number.isdigit() and (folder / "bundle.json").exists():
            found.append((int(number), JobFolder(folder)))
    return sorted(found, key=lambda each: each[0])


def journals_of(home: Path, bundles: Iterable[int]) -> Iterator[Path]:
    """Give the files of the journals of all jobs that were packed of some bundles."""
    for bundle in bundles:
        for _, job in attempts_at(home, bundle):
            yield from job.journals()

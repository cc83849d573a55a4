"""All that a run has left to do, submitted at once: which job goes after which, and what each must look up.

A job that begins after others reads in their folders what came of them (`executors.jobs.binding`). So nobody
has to be there in between.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

import attrs
import numpy as np
import numpy.typing as npt

from executors.decisions.schedule import Schedule
from executors.decisions.work import Work
from graphbuilder.dag.dag import ScienceDag

__all__ = ["Ahead", "foresee"]


@attrs.frozen
class Ahead:
    """One bundle that is to run some time."""

    work: Work
    waits: Mapping[int, Sequence[int]]
    """Quantum of it → those outside that it depends on and that have not ended."""
    after: Mapping[int, Sequence[int]]
    """Bundle that goes before it → which of these are in that."""


def foresee(plan: ScienceDag, schedule: Schedule) -> list[Ahead]:
    """Return what is left to run, each bundle after those that it waits for."""
    works = {work.bundle: work for work in schedule.foresee()}
    home = np.full(plan.n_quanta, -1, np.int64)
    for bundle, work in works.items():
        home[list(work.quanta)] = bundle
    indptr, indices = plan.successors()
    before = np.repeat(np.arange(plan.n_quanta), np.diff(indptr))
    across = (home[before] >= 0) & (home[indices] >= 0) & (home[before] != home[indices])
    before, behind = before[across], indices[across].astype(np.int64)
    waits: dict[int, dict[int, list[int]]] = {bundle: {} for bundle in works}
    order = np.argsort(home[behind] * plan.n_quanta + behind, kind="stable")
    told = before[order].tolist()
    for quantum, begin, end in _runs(behind[order]):
        waits[int(home[quantum])][quantum] = told[begin:end]
    pairs = np.sort(home[behind] * plan.n_quanta + before)
    pairs = pairs[np.diff(pairs, prepend=-1) > 0]  # numpy.unique takes several times as long
    bundles, before = np.divmod(pairs, plan.n_quanta)
    order = np.lexsort((home[before], bundles))
    bundles, before = bundles[order], before[order]
    told = before.tolist()
    after: dict[int, dict[int, list[int]]] = {bundle: {} for bundle in works}
    most = max(works, default=0) + 1
    for pair, begin, end in _runs(bundles * most + home[before]):
        after[pair // most][pair % most] = told[begin:end]
    return [Ahead(works[bundle], waits[bundle], after[bundle]) for bundle in _sorted(after)]


def _runs(values: npt.NDArray[np.int64]) -> Iterator[tuple[int, int, int]]:
    """Give each value that follows another one, and where it begins and ends."""
    begins = np.flatnonzero(np.diff(values, prepend=-1))
    ends = [*begins.tolist(), len(values)][1:]
    return zip(values[begins].tolist(), begins.tolist(), ends, strict=True)


def _sorted(after: Mapping[int, Collection[int]]) -> list[int]:
    """Return bundles level by level."""
    followers: dict[int, list[int]] = {}
    left = {bundle: len(before) for bundle, before in after.items()}
    for bundle, before in after.items():
        for each in before:
            followers.setdefault(each, []).append(bundle)
    found = [bundle for bundle, n in left.items() if not n]
    for bundle in found:
        for follower in followers.get(bundle, ()):
            left[follower] -= 1
            if not left[follower]:
                found.append(follower)
    return found

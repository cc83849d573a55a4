"""All that a run has left to do, submitted at once: which job goes after which, and what each must look up.

A job that begins after others reads in their folders what came of them (`executors.jobs.binding`). So nobody
has to be there in between.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs
import numpy as np

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
    bundles: tuple[int, ...]
    """Bundles that these are in."""
    homes: Mapping[int, int]
    """Which of these are in which."""


def foresee(plan: ScienceDag, schedule: Schedule) -> list[Ahead]:
    """Return what is left to run, each bundle after those that it waits for."""
    works = {work.bundle: work for work in schedule.foresee()}
    home = np.full(plan.n_quanta, -1, np.int64)
    for bundle, work in works.items():
        home[list(work.quanta)] = bundle
    indptr, indices = plan.successors()
    owners = np.repeat(np.arange(plan.n_quanta), np.diff(indptr))
    across = (home[owners] >= 0) & (home[indices] >= 0) & (home[owners] != home[indices])
    waits: dict[int, dict[int, list[int]]] = {}
    after: dict[int, set[int]] = {bundle: set() for bundle in works}
    homes: dict[int, dict[int, int]] = {}
    for before, quantum in zip(owners[across].tolist(), indices[across].tolist(), strict=True):
        bundle = int(home[quantum])
        waits.setdefault(bundle, {}).setdefault(quantum, []).append(before)
        homes.setdefault(bundle, {})[before] = int(home[before])
        after[bundle].add(int(home[before]))
    return [
        Ahead(works[b], waits.get(b, {}), tuple(sorted(after[b])), homes.get(b, {})) for b in _sorted(after)
    ]


def _sorted(after: Mapping[int, set[int]]) -> list[int]:
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

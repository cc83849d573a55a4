"""Parts of what was batched: a bundle split, a plan of some bundles alone."""

from __future__ import annotations

from collections.abc import Iterable

import attrs
import numpy as np

from graphbuilder.dag.dag import ScienceDag
from graphbuilder.dag.values import Bundling
from supertask.errors import PreflightError

__all__ = ["plan_of_bundles", "split"]


def split(bundling: Bundling, bundle: int, parts: int, *, name: str | None = None) -> Bundling:
    """Return a bundling in which one bundle is parted in so many, as even as can be and none of them empty.

    Parameters
    ----------
    bundling : Bundling
        The bundles.
    bundle : int
        Which one; those after it get higher numbers.
    parts : int
        In how many; no more than it has quanta come out.
    name : str, optional
        Of what comes out; that of `bundling` unless given.

    Raises
    ------
    PreflightError
        There is no such bundle, or `parts` is less than 1.
    """
    _check(bundling, (bundle,))
    if parts < 1:
        raise PreflightError(f"a bundle is split in 1 part or more, not {parts}")
    ends = np.asarray(bundling.indptr)
    begin, size = int(ends[bundle]), int(ends[bundle + 1] - ends[bundle])
    parts = min(parts, size)
    new = begin + size * np.arange(1, parts) // parts
    made = np.concatenate([ends[: bundle + 1], new, ends[bundle + 1 :]]).astype(np.int64)
    return attrs.evolve(bundling, indptr=made, name=bundling.name if name is None else name)


def plan_of_bundles(dag: ScienceDag, bundling: Bundling, bundles: Iterable[int]) -> ScienceDag:
    """Return a plan of some bundles alone, with these as its bundling; to try things on a part.

    Raises
    ------
    PreflightError
        There is no such bundle.
    """
    chosen = sorted(set(bundles))
    _check(bundling, chosen)
    quanta = np.concatenate([bundling[b] for b in chosen]) if chosen else np.empty(0, np.int32)
    part = dag.subset(quanta=quanta.tolist())
    ends = np.concatenate([[0], np.cumsum([len(bundling[b]) for b in chosen])]).astype(np.int64)
    ascending = np.sort(quanta)
    return part.with_bundling(
        attrs.evolve(bundling, indptr=ends, indices=np.searchsorted(ascending, quanta).astype(np.int32))
    )


def _check(bundling: Bundling, bundles: Iterable[int]) -> None:
    for bundle in bundles:
        if not 0 <= bundle < len(bundling):
            raise PreflightError(
                f"there is no bundle {bundle}: {bundling.name!r} has {len(bundling)}, numbered from 0"
            )

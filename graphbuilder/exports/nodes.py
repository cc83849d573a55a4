"""Bundles as nodes of a graph: what the exports have in common."""

from __future__ import annotations

import re
from collections.abc import Sequence

import attrs
import numpy as np
import numpy.typing as npt

from graphbuilder.dag.dag import ScienceDag
from graphbuilder.dag.requests import Need
from graphbuilder.dag.values import Bundling

__all__ = ["Node", "homes_of", "nodes_of", "plain"]

_STRANGE = re.compile(r"[^A-Za-z0-9_.,@+=/ -]")


@attrs.frozen(kw_only=True)
class Node:
    """One bundle, or one quantum of a plan without bundles."""

    number: int
    labels: tuple[str, ...]
    """Of its tasks."""
    quanta: int
    """How many it has."""
    after: tuple[int, ...]
    """Nodes that it waits for."""
    seconds: float = 0.0
    """To ask for, 0 where nothing was measured."""
    memory: int = 0
    """Bytes to ask for, 0 where nothing was measured."""


def plain(text: str) -> str:
    """Return a text fit for a comment: on one line, and nothing that a shell, make or YAML would heed."""
    return _STRANGE.sub("?", text)


def homes_of(dag: ScienceDag, bundling: Bundling | None) -> npt.NDArray[np.int64]:
    """Return the node of each quantum, shape (quanta,): its bundle, or itself where there are no bundles."""
    if bundling is None:
        return np.arange(dag.n_quanta, dtype=np.int64)
    homes = np.empty(dag.n_quanta, np.int64)
    homes[np.asarray(bundling.indices)] = np.repeat(np.arange(len(bundling)), np.diff(bundling.indptr))
    return homes


def nodes_of(dag: ScienceDag, bundling: Bundling | None) -> list[Node]:
    """Return the nodes of a plan, by number.

    Parameters
    ----------
    dag : ScienceDag
        The plan.
    bundling : Bundling or None
        Its bundles; without them each quantum is a node.
    """
    homes = homes_of(dag, bundling)
    n = dag.n_quanta if bundling is None else len(bundling)
    before = _split(*_edges(dag, homes, n), n)
    counts = np.zeros((n, len(dag.tasks)), np.int64)
    for k, node in enumerate(dag.tasks):
        counts[:, k] = np.bincount(homes[node.first : node.first + node.count], minlength=n)
    needs = {label: Need.from_plain(said) for label, said in _needs(bundling).items()}
    labels = [node.label for node in dag.tasks]
    found = []
    for number, row in enumerate(counts.tolist()):
        own = [(labels[k], count) for k, count in enumerate(row) if count]
        known = [(needs[label], count) for label, count in own if label in needs]
        whole = len(known) == len(own)
        found.append(
            Node(
                number=number,
                labels=tuple(label for label, _ in own),
                quanta=sum(row),
                after=tuple(before[number].tolist()),
                seconds=sum(need.seconds(count) for need, count in known) if whole else 0.0,
                memory=max((need.memory for need, _ in known), default=0) if whole else 0,
            )
        )
    return found


def _needs(bundling: Bundling | None) -> dict[str, dict[str, float]]:
    return {} if bundling is None else dict(bundling.about.get("needs", {}))


def _edges(
    dag: ScienceDag, homes: npt.NDArray[np.int64], n: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return pairs of nodes, each once, sorted by the second: the one that waits, and what it waits for."""
    indptr, indices = dag.successors()
    before = np.repeat(homes, np.diff(indptr))
    after = homes[indices]
    across = before != after
    pairs = np.unique(after[across] * np.int64(n) + before[across])
    return pairs // n, pairs % n


def _split(
    owners: npt.NDArray[np.int64], values: npt.NDArray[np.int64], n: int
) -> Sequence[npt.NDArray[np.int64]]:
    return np.split(values, np.searchsorted(owners, np.arange(1, n)))

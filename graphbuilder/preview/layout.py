"""Placing the nodes of a layered graph: which layer, in which order, and where in it.

The method is Sugiyama's: longest-path layers, way-points where an edge passes a layer, orders by
barycentres swept up and down, and then positions that draw each node towards its neighbours while
keeping their distance, solved exactly for each layer by pooling adjacent violators.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import attrs
import numpy as np
import numpy.typing as npt

__all__ = ["Layout", "place"]

_SWEEPS = 18
_STRAIGHTENING = 60
_WAY_WIDTH = 0.35


@attrs.frozen
class Layout:
    """Where nodes are, and by which points edges go."""

    x: npt.NDArray[np.float64]
    """Shape (nodes,)."""
    layer: npt.NDArray[np.int64]
    """Shape (nodes,): 0 is the first."""
    ways: tuple[tuple[tuple[float, float], ...], ...]
    """For each edge: x and layer of its beginning, of the layers that it passes, and of its end."""


def place(n: int, edges: Sequence[tuple[int, int]], widths: Sequence[float], *, gap: float = 0.4) -> Layout:
    """Place the nodes of an acyclic graph.

    Parameters
    ----------
    n : int
        Number of nodes.
    edges : sequence of (int, int)
        From and to.
    widths : sequence of float
        Width of each node.
    gap : float, optional
        Least space between neighbours.
    """
    layer = _layers(n, edges)
    layers: list[list[int]] = [[] for _ in range(int(layer.max(initial=-1)) + 1)]
    for i in range(n):
        layers[layer[i]].append(i)
    size = [*widths]
    chains: list[list[int]] = []
    links: list[tuple[int, int]] = []
    for a, b in edges:
        chain = [a]
        for between in range(layer[a] + 1, layer[b]):
            layers[between].append(len(size))
            chain.append(len(size))
            size.append(_WAY_WIDTH)
        chain.append(b)
        chains.append(chain)
        links += itertools.pairwise(chain)
    x = _positions(layers, links, np.array(size), gap)
    level = np.zeros(len(size))
    for k, members in enumerate(layers):
        level[members] = k
    ways = tuple(tuple((float(x[i]), float(level[i])) for i in chain) for chain in chains)
    return Layout(x[:n], layer, ways)


def _layers(n: int, edges: Sequence[tuple[int, int]]) -> npt.NDArray[np.int64]:
    """Longest path from a source; a source then moves down to just above its first reader."""
    layer = np.zeros(n, np.int64)
    for _ in range(n):
        before = layer.copy()
        for a, b in edges:
            layer[b] = max(layer[b], layer[a] + 1)
        if (before == layer).all():
            break
    has_maker = {b for _, b in edges}
    for a in range(n):
        readers = [layer[b] for s, b in edges if s == a]
        if a not in has_maker and readers:
            layer[a] = min(readers) - 1
    return layer


def _positions(
    layers: list[list[int]], links: list[tuple[int, int]], size: npt.NDArray[np.float64], gap: float
) -> npt.NDArray[np.float64]:
    above: list[list[int]] = [[] for _ in size]
    below: list[list[int]] = [[] for _ in size]
    for a, b in links:
        above[b].append(a)
        below[a].append(b)
    x = np.zeros(len(size))
    for members in layers:
        _spread(members, x, x, size, gap)
    for sweep in range(_SWEEPS + _STRAIGHTENING):
        down = sweep % 2 == 0
        for members in layers if down else layers[::-1]:
            near = above if down else below
            wanted = x.copy()
            for i in members:
                if near[i]:
                    wanted[i] = float(np.mean(x[near[i]]))
            if sweep < _SWEEPS:  # the last sweeps keep the order and only straighten
                members.sort(key=lambda i: (wanted[i], x[i]))
            else:
                for i in members:
                    both = above[i] + below[i]
                    wanted[i] = float(np.mean(x[both])) if both else x[i]
            _spread(members, wanted, x, size, gap)
    left: npt.NDArray[np.float64] = x - x.min(initial=0.0)
    return left


def _spread(
    members: list[int],
    wanted: npt.NDArray[np.float64],
    x: npt.NDArray[np.float64],
    size: npt.NDArray[np.float64],
    gap: float,
) -> None:
    """Set x of a layer's members as near to what is wanted as their widths allow."""
    offsets = np.zeros(len(members))
    for k in range(1, len(members)):
        offsets[k] = offsets[k - 1] + (size[members[k - 1]] + size[members[k]]) / 2 + gap
    pools: list[tuple[float, int]] = []
    for k, i in enumerate(members):
        mean, count = float(wanted[i] - offsets[k]), 1
        while pools and pools[-1][0] > mean:
            other, n = pools.pop()
            mean, count = (mean * count + other * n) / (count + n), count + n
        pools.append((mean, count))
    k = 0
    for mean, count in pools:
        for i in members[k : k + count]:
            x[i] = mean + offsets[k]
            k += 1

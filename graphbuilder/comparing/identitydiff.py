"""Where the identities of two quanta or datasets part: followed upstream to what differs of itself.

Two quanta are compared: class, version, source code and configuration of their tasks, data ID, parameters,
and their inputs by type and data ID. Where an input of both has another identity, the quanta that made it are
compared in turn, one after another and each pair once, never by recursion. What differs because something
upstream does is no cause; what differs of itself is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import numpy as np

from graphbuilder.comparing.planchanges import Change, task_changes
from graphbuilder.dag.dag import ScienceDag
from graphbuilder.dag.parameters import parameter_values
from graphbuilder.dag.values import QuantumRecord, TaskNode
from supertask.classpath import load_class
from supertask.configs.base import ConfigBase
from supertask.datasets import Dataset
from supertask.errors import SuperTaskError
from supertask.tasks.task import Task

__all__ = ["Finder", "IdentityDiff", "Maker", "Root", "Side", "identity_diff"]

_SHOWN = 5


@attrs.frozen(eq=False)
class Maker:
    """A quantum in a plan."""

    dag: ScienceDag
    index: int

    def record(self) -> QuantumRecord:
        """Return all that the plan knows of it."""
        return self.dag.record(self.index)


Finder = Callable[[Dataset, bytes], Maker | None]
"""Returns what made a dataset of this identity, where a plan is known that did."""


@attrs.frozen(eq=False)
class Side:
    """One of the two that are compared."""

    name: str
    """What it is called in what is told."""
    identity: bytes
    maker: Maker | None
    """The quantum, or the one that made the dataset; None for a dataset that was ingested."""
    find: Finder = lambda _dataset, _identity: None
    """Finds what made inputs that the plan itself does not make."""
    is_dataset: bool = False


@attrs.frozen
class Root:
    """Something in which two identities part, and from which all else follows."""

    where: str
    """Quantum or dataset of which it differs."""
    change: Change
    path: tuple[str, ...] = ()
    """The datasets that lead there from what was asked about, the nearest first."""

    def __str__(self) -> str:
        way = "".join(f" ← {step}" for step in self.path)
        return f"{self.where}: {self.change}{way and f'  (by{way})'}"


@attrs.frozen
class IdentityDiff:
    """Where two identities part."""

    a: str
    b: str
    identity_a: str
    """In hexadecimal."""
    identity_b: str
    roots: tuple[Root, ...]
    """The nearest first; empty where the identities are equal."""
    compared: int
    """How many pairs of quanta were compared."""
    whole: bool = True
    """Whether all were; else it ended where the most that is to be compared was reached."""

    @property
    def is_same(self) -> bool:
        """Whether the identities are equal."""
        return self.identity_a == self.identity_b

    def __str__(self) -> str:
        return "\n".join(self._told())

    def _told(self) -> Iterator[str]:
        if self.is_same:
            yield f"the same identity: {self.identity_a}"
            return
        yield f"{self.a}: {self.identity_a}"
        yield f"{self.b}: {self.identity_b}"
        for change, roots in self.by_change().items():
            first = roots[0]
            yield f"{first.where}: {change}"
            if first.path:
                yield f"  which reaches it by {' ← '.join(first.path)}"
            if len(roots) > 1:
                rest = f" and {len(roots) - _SHOWN:,} more" if len(roots) > _SHOWN else ""
                yield f"  and likewise {', '.join(r.where for r in roots[1:_SHOWN])}{rest}"
        if not self.whole:
            yield f"compared no further than {self.compared:,} pairs of quanta: there may be other causes"

    def by_change(self) -> dict[Change, list[Root]]:
        """Return what differs → where, the nearest first."""
        found: dict[Change, list[Root]] = {}
        for root in self.roots:
            found.setdefault(root.change, []).append(root)
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data, fit for JSON."""
        return {"same": self.is_same, **attrs.asdict(self)}


@attrs.frozen(eq=False)
class _Pair:
    a: Maker
    b: Maker
    path: tuple[str, ...]


def identity_diff(a: Side, b: Side, *, most: int = 10_000) -> IdentityDiff:
    """Tell in what two identities part.

    Parameters
    ----------
    a, b : Side
        What is compared.
    most : int, optional
        How many pairs of quanta are compared at most.

    Returns
    -------
    IdentityDiff
        What differs of itself, upstream included.
    """
    roots: list[Root] = []
    compared, whole = 0, True
    if a.identity != b.identity:
        if a.maker is None or b.maker is None:
            roots.append(Root(a.name, _of_makers(a, b)))
        else:
            walk = _Walk(a, b, most)
            roots += walk.roots(a.maker, b.maker)
            compared, whole = walk.compared, walk.whole
    return IdentityDiff(a.name, b.name, a.identity.hex(), b.identity.hex(), tuple(roots), compared, whole)


def _of_makers(a: Side, b: Side) -> Change:
    names = [s.maker.record().label if s.maker is not None else "no plan known: ingested" for s in (a, b)]
    if names[0] == names[1]:
        return Change("content", a.identity.hex()[:12], b.identity.hex()[:12])
    return Change("made by", names[0], names[1])


class _Walk:
    """Goes upstream, pair by pair."""

    def __init__(self, a: Side, b: Side, most: int) -> None:
        self._a, self._b, self._most = a, b, most
        self.compared, self.whole = 0, True

    def roots(self, a: Maker, b: Maker) -> Iterator[Root]:
        """Yield what differs of itself, breadth first."""
        seen: set[tuple[bytes, bytes]] = set()
        waiting = deque([_Pair(a, b, ())])
        while waiting:
            pair = waiting.popleft()
            one, other = pair.a.record(), pair.b.record()
            if one.identity == other.identity or (one.identity, other.identity) in seen:
                continue
            if self.compared >= self._most:
                self.whole = False
                return
            seen.add((one.identity, other.identity))
            self.compared += 1
            where = f"{one.label} {one.quantum.dataId}"
            own = [Root(where, c, pair.path) for c in _own_changes(pair.a, pair.b, one, other)]
            yield from own
            further, inputs = self._inputs(pair, one, other, where)
            yield from inputs
            if not (own or inputs or further):
                yield Root(where, Change("something that plans do not record", "", ""), pair.path)
            waiting.extend(further)

    def _inputs(
        self, pair: _Pair, one: QuantumRecord, other: QuantumRecord, where: str
    ) -> tuple[list[_Pair], list[Root]]:
        """Return which makers of inputs are to be compared, and what differs of the inputs themselves."""
        further: list[_Pair] = []
        roots: list[Root] = []
        ours, theirs = ({t.name: ds for t, ds in r.quantum.inputs.items()} for r in (one, other))
        for name in dict.fromkeys([*ours, *theirs]):
            mine, yours = ({d.dataId: d for d in side.get(name, ())} for side in (ours, theirs))
            only = [[d for i, d in x.items() if i not in y] for x, y in ((mine, yours), (yours, mine))]
            if any(only):
                roots.append(Root(where, Change(f"input {name!r}", *map(_listed, only)), pair.path))
            for dataId in sorted(mine.keys() & yours.keys(), key=str):
                left, right = mine[dataId], yours[dataId]
                before, now = one.identities[left], other.identities[right]
                if before == now:
                    continue
                makers = _maker(pair.a, left, before, self._a.find), _maker(pair.b, right, now, self._b.find)
                path = (*pair.path, f"{name} {dataId}")
                if makers[0] is not None and makers[1] is not None:
                    further.append(_Pair(makers[0], makers[1], path))
                    continue
                sides = [Side("", i, m) for i, m in zip((before, now), makers, strict=True)]
                roots.append(Root(f"{name} {dataId}", _of_makers(*sides), pair.path))
        return further, roots


def _listed(datasets: list[Dataset]) -> str:
    if not datasets:
        return "(none more)"
    shown = sorted(str(d.dataId) for d in datasets)
    rest = f" and {len(shown) - _SHOWN:,} more" if len(shown) > _SHOWN else ""
    return f"also {'; '.join(shown[:_SHOWN])}{rest}"


def _maker(place: Maker, dataset: Dataset, identity: bytes, find: Finder) -> Maker | None:
    """Return what made an input: in its plan, or in another that is known."""
    dataset_type = place.dag.dataset_type(dataset.name)
    producers = place.dag.producers.get(dataset_type)
    if producers is not None:
        row = place.dag.datasets[dataset_type].find(dataset.dataId)
        index = -1 if row is None else int(producers.of(np.array([row]))[0])
        if index >= 0:
            return Maker(place.dag, index)
    return find(dataset, identity)


def _own_changes(a: Maker, b: Maker, one: QuantumRecord, other: QuantumRecord) -> Iterator[Change]:
    nodes = a.dag.task_of(a.index), b.dag.task_of(b.index)
    variants = nodes[0].variant(one.variant), nodes[1].variant(other.variant)
    if variants[0].key != variants[1].key:
        changes = [*task_changes(*variants), *_source(*nodes)]
        entering = [c for c in changes if _enters(variants[0].class_path, c.what)]
        yield from entering or changes or [Change("task", variants[0].key.hex(), variants[1].key.hex())]
    if one.quantum.dataId != other.quantum.dataId:
        yield Change("data ID", str(one.quantum.dataId), str(other.quantum.dataId))
    values = [_parameters(r) for r in (one, other)]
    if values[0] != values[1]:
        for name in dict.fromkeys([*values[0], *values[1]]):
            left, right = (v.get(name, "(not set)") for v in values)
            if left != right:
                yield Change(f"parameter {name}", str(left), str(right))


def _parameters(record: QuantumRecord) -> dict[str, Any]:
    said = parameter_values(record.quantum.parameters, meta=False) or {}
    return {"class": said["class"], **said["values"]} if "values" in said else said


def _source(a: TaskNode, b: TaskNode) -> Iterator[Change]:
    if a.by_source != b.by_source:
        told = ["part of the identity" if n.by_source else "not part of the identity" for n in (a, b)]
        yield Change("source code", *told)
    elif a.by_source and a.source != b.source:
        yield Change("source code", a.source[:12], b.source[:12])


def _enters(class_path: str, what: str) -> bool:
    """Tell whether what differs enters identities, as far as the class can be looked at."""
    kind, _, path = what.partition(" ")
    if kind != "config":
        return True
    try:
        config: type[ConfigBase] = load_class(class_path, Task).ConfigClass
    except (SuperTaskError, ImportError):
        return True
    field = config.config_fields.get(path.partition(".")[0])
    return field is None or field.identity

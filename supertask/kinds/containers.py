"""Kinds of values that hold others: lists, dicts, sets, choices of kinds, plain data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from supertask.errors import Problems
from supertask.kinds.base import INVALID, MISSING, At, Kind, Origin, Put
from supertask.kinds.frozen import FrozenDict, FrozenList
from supertask.kinds.scalars import NoneKind, PathKind, StrKind, parse_text, shown
from supertask.yamlfiles.nodes import Node

__all__ = ["DictKind", "ListKind", "PlainKind", "SetKind", "TupleKind", "UnionKind"]


def _is_sequence(value: Any) -> bool:
    # A numpy array comes as a list of its elements.
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _elements(value: Any) -> Any:
    return value.tolist() if type(value).__module__ == "numpy" and hasattr(value, "tolist") else value


class _Ordered(Kind):
    """What lists and tuples have in common."""

    def wrong_length(self, length: int) -> str | None:
        """Return what is wrong with a number of elements, or None."""
        return None

    def kind_of(self, index: int) -> Kind:
        """Return the kind of one element."""
        raise NotImplementedError

    def make(self, values: list[Any]) -> Any:
        """Return the elements as the field keeps them."""
        raise NotImplementedError

    def accept(self, value: Any, at: At, current: Any = MISSING) -> Any:
        value = _elements(value)
        if not _is_sequence(value):
            return self.refuse(value, at)
        return self._all(value, lambda kind, v, here: kind.accept(v, here), at)

    def parse(self, node: Node, at: At, current: Any = MISSING) -> Any:
        if not isinstance(node, list):
            return at.note(f"must be {self.say()}, got {shown(node)!r}; write it as [first, second]")
        return self._all(node, lambda kind, v, here: kind.parse(v, here), at)

    def _all(self, values: Sequence[Any], take: Callable[[Kind, Any, At], Any], at: At) -> Any:
        if (wrong := self.wrong_length(len(values))) is not None:
            return at.note(wrong)
        made = [take(self.kind_of(i), v, at.inside(i)) for i, v in enumerate(values)]
        return INVALID if any(v is INVALID for v in made) else self.make(made)

    def change(self, current: Any, steps: tuple[str, ...], put: Put, at: At) -> Any:
        if not steps:
            return put(self, current, at)
        try:
            index = int(steps[0])
            old = current[index]
        except (ValueError, IndexError, TypeError):
            length = 0 if current in (MISSING, None) else len(current)
            return at.note(f"it has no element [{steps[0]}]: it has {length}, counted from 0")
        index %= len(current)
        new = self.kind_of(index).change(old, steps[1:], put, at.inside(index))
        return INVALID if new is INVALID else self.make([*current[:index], new, *current[index + 1 :]])


class ListKind(_Ordered):
    """A list of values of one kind."""

    def __init__(self, item: Kind) -> None:
        self.item = item

    def say(self) -> str:
        return f"a list, each {self.item.say()}"

    def kind_of(self, index: int) -> Kind:
        return self.item

    def make(self, values: list[Any]) -> Any:
        return FrozenList(values)

    def plain(self, value: Any) -> Any:
        return [self.item.plain(v) for v in value]


class TupleKind(_Ordered):
    """A tuple, of one kind and any length, or of one kind for each place."""

    def __init__(self, items: tuple[Kind, ...], *, repeated: bool) -> None:
        self.items = items
        self.repeated = repeated

    def say(self) -> str:
        if self.repeated:
            return f"a tuple, each {self.items[0].say()}"
        return f"a tuple of {len(self.items)}: {', '.join(k.say() for k in self.items)}"

    def wrong_length(self, length: int) -> str | None:
        fits = self.repeated or length == len(self.items)
        return None if fits else f"must be {self.say()}, got {length} values"

    def kind_of(self, index: int) -> Kind:
        return self.items[0 if self.repeated else index]

    def make(self, values: list[Any]) -> Any:
        return tuple(values)

    def plain(self, value: Any) -> Any:
        kinds = self.items * len(value) if self.repeated else self.items
        return [kind.plain(v) for kind, v in zip(kinds, value, strict=False)]


class SetKind(Kind):
    """A set of values of one kind."""

    def __init__(self, item: Kind) -> None:
        self.item = item
        self._list = ListKind(item)

    def say(self) -> str:
        return f"a set, each {self.item.say()}"

    def accept(self, value: Any, at: At, current: Any = MISSING) -> Any:
        if isinstance(value, AbstractSet):
            value = sorted(value, key=repr)
        if not _is_sequence(value):
            return self.refuse(value, at)
        found = self._list.accept(value, at)
        return found if found is INVALID else frozenset(found)

    def parse(self, node: Node, at: At, current: Any = MISSING) -> Any:
        found = self._list.parse(node, at)
        return found if found is INVALID else frozenset(found)

    def plain(self, value: Any) -> Any:
        return sorted((self.item.plain(v) for v in value), key=lambda v: (type(v).__name__, v))


class DictKind(Kind):
    """A dict from keys of one kind to values of one kind."""

    def __init__(self, key: Kind, value: Kind) -> None:
        self.key = key
        self.value = value

    def say(self) -> str:
        return f"a dict, each key {self.key.say()} and each value {self.value.say()}"

    def _key(self, key: Any, at: At) -> Any:
        # Files have keys as text, whatever their kind.
        if isinstance(key, str) and not isinstance(self.key, StrKind):
            return parse_text(self.key, key, at)
        return self.key.accept(key, at)

    def accept(self, value: Any, at: At, current: Any = MISSING) -> Any:
        if not isinstance(value, Mapping):
            return self.refuse(value, at)
        return self._make([(k, self.value.accept(v, at.inside(_step(k)))) for k, v in value.items()], at)

    def parse(self, node: Node, at: At, current: Any = MISSING) -> Any:
        if not isinstance(node, dict):
            return at.note(f"must be {self.say()}, got {shown(node)!r}; write it as {{key: value}}")
        return self._make([(k, self.value.parse(v, at.inside(k))) for k, v in node.items()], at)

    def _make(self, items: list[tuple[Any, Any]], at: At) -> Any:
        made: dict[Any, Any] = {}
        valid = True
        for raw, value in items:
            key = self._key(raw, at.inside(_step(raw)))
            if key is INVALID or value is INVALID:
                valid = False
            elif key in made:
                at.note(f"the key {key!r} is there twice")
                valid = False
            else:
                made[key] = value
        return FrozenDict(made) if valid else INVALID

    def plain(self, value: Any) -> Any:
        return {str(self.key.plain(k)): self.value.plain(v) for k, v in value.items()}

    def change(self, current: Any, steps: tuple[str, ...], put: Put, at: At) -> Any:
        if not steps:
            return put(self, current, at)
        key = self._key(steps[0], at.inside(steps[0]))
        if key is INVALID:
            return INVALID
        old = {} if current in (MISSING, None) else dict(current)
        new = self.value.change(old.get(key, MISSING), steps[1:], put, at.inside(_step(key)))
        return INVALID if new is INVALID else FrozenDict({**old, key: new})


def _step(key: Any) -> str | int:
    return key if isinstance(key, str | int) else str(key)


class UnionKind(Kind):
    """A value of one of several kinds."""

    def __init__(self, kinds: tuple[Kind, ...]) -> None:
        self.kinds = kinds
        self._some = tuple(k for k in kinds if not isinstance(k, NoneKind))
        self.verbatim = all(k.verbatim for k in self._some)

    def say(self) -> str:
        words = [k.say() for k in self._some]
        return " or ".join(words if len(self._some) == len(self.kinds) else [*words, "None"])

    def _first(
        self, kinds: Iterable[Kind], attempt: Callable[[Kind, At], Any], at: At, given: Any, *, exact: bool
    ) -> Any:
        """Return what the first kind makes of it that can; with `exact` one that keeps its type first."""
        found = MISSING
        for kind in kinds:
            trial = at.trial()
            value = attempt(kind, trial)
            if value is INVALID or trial.problems:
                continue
            if not exact or type(value) is type(given):
                return value
            found = value if found is MISSING else found
        if found is not MISSING:
            return found
        if len(self._some) > 1:
            return self.refuse(given, at)
        # With one kind besides None its own words tell more.
        own = at.trial()
        attempt(self._some[0], own)
        for problem in own.problems:
            at.problems.add(problem)
        return INVALID

    def accept(self, value: Any, at: At, current: Any = MISSING) -> Any:
        return self._first(self.kinds, lambda k, t: k.accept(value, t, current), at, value, exact=True)

    def parse(self, node: Node, at: At, current: Any = MISSING) -> Any:
        # Every word is a str, so that is what it is last.
        kinds = sorted(self.kinds, key=lambda k: isinstance(k, StrKind | PathKind))
        return self._first(kinds, lambda k, t: k.parse(node, t, current), at, shown(node), exact=False)

    def plain(self, value: Any) -> Any:
        for kind in self.kinds:
            trial = At(Problems(""), Origin(""))
            kept = kind.accept(value, trial)
            if not trial.problems and type(kept) is type(value):
                return kind.plain(value)
        return value

    def change(self, current: Any, steps: tuple[str, ...], put: Put, at: At) -> Any:
        if not steps:
            return put(self, current, at)
        return self._first(
            self.kinds, lambda k, t: k.change(current, steps, put, t), at, current, exact=False
        )


class PlainKind(Kind):
    """Plain data of any shape: what JSON holds."""

    def say(self) -> str:
        return "plain data (None, bool, int, float, str, lists and dicts of them)"

    def accept(self, value: Any, at: At, current: Any = MISSING) -> Any:
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return str(value)
        value = _elements(value)
        if isinstance(value, int | float):
            return int(value) if isinstance(value, int) else float(value)
        if isinstance(value, Mapping) and all(isinstance(k, str) for k in value):
            return FrozenDict({k: self.accept(v, at.inside(k)) for k, v in value.items()})
        if _is_sequence(value):
            return FrozenList([self.accept(v, at.inside(i)) for i, v in enumerate(value)])
        return self.refuse(value, at)

    def parse(self, node: Node, at: At, current: Any = MISSING) -> Any:
        if isinstance(node, dict):
            return FrozenDict({k: self.parse(v, at.inside(k)) for k, v in node.items()})
        if isinstance(node, list):
            return FrozenList([self.parse(v, at.inside(i)) for i, v in enumerate(node)])
        if node.quoted:
            return node.text
        from supertask.yamlfiles.text import load

        return load(node.text).value

    def plain(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {k: self.plain(v) for k, v in value.items()}
        return [self.plain(v) for v in value] if isinstance(value, list) else value

    def change(self, current: Any, steps: tuple[str, ...], put: Put, at: At) -> Any:
        if not steps:
            return put(self, current, at)
        inner = DictKind(StrKind(), self) if isinstance(current, Mapping) else ListKind(self)
        if not isinstance(current, Mapping | list):
            return super().change(current, steps, put, at)
        return inner.change(current, steps, put, at)

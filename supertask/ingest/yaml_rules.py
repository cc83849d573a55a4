"""A declared translator's YAML, checked as a whole: every mistake is named, with its line."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from typing import Any

import attrs

from supertask.errors import IngestError, Problems, did_you_mean
from supertask.ingest.frames import Combine
from supertask.ingest.rules import MISSING, Kind, Rule, Source
from supertask.yamlfiles.text import Document

__all__ = ["DeclaredDataset", "DeclaredRules", "read_rules"]

_TOP = ("name", "doc", "hdu", "wcs", "ignore_cards", "values", "combine", "datasets")
_SOURCES = tuple(s.value for s in Source)
_RULE = (*_SOURCES, "with", "match", "map", "to", "format", "scale", "times", "plus", "default", "when")
_DATASET = ("type", "units", "storage", "when", "doc")
_FORMATS = ("mjd", "jd", "unix")
_SCALES = ("utc", "tai", "tt", "tdb", "tcb", "tcg", "ut1")


@attrs.frozen
class DeclaredDataset:
    """What stands under ``datasets``."""

    name: str
    """Empty for frames that are to be passed over."""
    units: tuple[str, ...]
    storage: str
    when: Mapping[str, tuple[Any, ...]]
    doc: str


@attrs.frozen
class DeclaredRules:
    """All that a translator's YAML says."""

    name: str
    doc: str
    hdu: tuple[str | int, ...]
    wcs: str
    ignore_cards: tuple[str, ...]
    rules: Mapping[str, tuple[Rule, ...]]
    combine: Mapping[str, Combine]
    datasets: tuple[DeclaredDataset, ...]


def read_rules(document: Document) -> DeclaredRules:
    """Check a document and return what it says.

    Raises
    ------
    IngestError
        Names every mistake, each with its line.
    """
    return _Reading(document).read()


class _Reading:
    """One document being checked."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._problems = Problems(f"translator {document.source}")

    def _wrong(self, message: str, *path: Hashable) -> None:
        place = self._document.place(*path)
        self._problems.add(f"line {place.line}: {message}")

    def read(self) -> DeclaredRules:
        top = self._document.value
        if not isinstance(top, dict):
            raise IngestError(f"{self._document.source} is no translator: it must be a mapping with 'values'")
        self._known(top, _TOP)
        for needed in ("name", "values", "datasets"):
            if not top.get(needed):
                self._wrong(f"{needed!r} is missing")
        rules = self._rules(top.get("values") or {})
        read = DeclaredRules(
            name=str(top.get("name", "")),
            doc=str(top.get("doc", "")),
            hdu=self._hdu(top.get("hdu", "first")),
            wcs=self._text(top.get("wcs", "header"), "wcs"),
            ignore_cards=self._words(top.get("ignore_cards", ()), "ignore_cards"),
            rules=rules,
            combine=self._combine(top.get("combine") or {}),
            datasets=self._datasets(top.get("datasets") or [], rules),
        )
        self._find_loop(rules)
        self._problems.raise_if_any(IngestError)
        return read

    def _known(self, given: Mapping[Any, Any], known: tuple[str, ...], *path: Hashable) -> None:
        for key in given:
            if key not in known:
                hint = did_you_mean(str(key), known)
                self._wrong(f"unknown key {key!r}{hint}; known are {', '.join(known)}", *path, key)

    def _text(self, value: Any, *path: Hashable) -> str:
        if not isinstance(value, str) or not value:
            self._wrong(f"{path[-1]!r} must be text, and is {value!r}", *path)
            return ""
        return value

    def _words(self, value: Any, *path: Hashable) -> tuple[str, ...]:
        words = [value] if isinstance(value, str) else value
        if not isinstance(words, list | tuple) or not all(isinstance(w, str) and w for w in words):
            self._wrong(f"{path[-1]!r} must be a word or a list of words, and is {value!r}", *path)
            return ()
        return tuple(words)

    def _hdu(self, value: Any) -> tuple[str | int, ...]:
        words = value if isinstance(value, list) else [value]
        if not words or not all(isinstance(w, str | int) and not isinstance(w, bool) for w in words):
            self._wrong("'hdu' is first, whole, all, a number, an EXTNAME or a list of these", "hdu")
            return ("first",)
        return tuple(words)

    def _combine(self, given: Any) -> dict[str, Combine]:
        known = [c.value for c in Combine]
        if not isinstance(given, dict):
            self._wrong("'combine' must be a mapping", "combine")
            return {}
        found = {}
        for name, word in given.items():
            if word in known:
                found[str(name)] = Combine(word)
            else:
                hint = did_you_mean(str(word), known)
                self._wrong(f"{name}: {word!r} is none of {', '.join(known)}{hint}", "combine", name)
        return found

    def _datasets(self, given: Any, rules: Mapping[str, Any]) -> tuple[DeclaredDataset, ...]:
        if not isinstance(given, list):
            self._wrong("'datasets' must be a list", "datasets")
            return ()
        found = []
        for i, entry in enumerate(given):
            if not isinstance(entry, dict) or "type" not in entry:
                self._wrong("a dataset needs 'type' (null to pass frames over)", "datasets", i)
                continue
            self._known(entry, _DATASET, "datasets", i)
            when = self._when(entry.get("when", {}), rules, "datasets", i, "when")
            if entry["type"] is None:
                found.append(DeclaredDataset("", (), "", when, ""))
                continue
            found.append(
                DeclaredDataset(
                    self._text(entry["type"], "datasets", i, "type"),
                    self._words(entry.get("units"), "datasets", i, "units"),
                    self._text(entry.get("storage", "fits_image"), "datasets", i, "storage"),
                    when,
                    str(entry.get("doc", "")),
                )
            )
        return tuple(found)

    def _rules(self, given: Any) -> dict[str, tuple[Rule, ...]]:
        if not isinstance(given, dict):
            self._wrong("'values' must be a mapping: unit or unit.field to a rule", "values")
            return {}
        found = {}
        for name, value in given.items():
            entries = value if isinstance(value, list) else [value]
            paths = [
                ("values", name, i) if isinstance(value, list) else ("values", name)
                for i in range(len(entries))
            ]
            rules = [self._rule(e, given, *path) for e, path in zip(entries, paths, strict=True)]
            found[str(name)] = tuple(r for r in rules if r is not None)
        return found

    def _rule(self, given: Any, names: Mapping[str, Any], *path: Hashable) -> Rule | None:
        if not isinstance(given, dict):
            return Rule(Source.VALUE, (given,))
        before = len(self._problems)
        self._known(given, _RULE, *path)
        sources = [word for word in _SOURCES if word in given]
        if len(sources) != 1:
            self._wrong(
                f"{path[1]}: a rule has one of {', '.join(_SOURCES)}, and here are {sources or 'none'}", *path
            )
            return None
        source = Source(sources[0])
        words = self._source_words(source, given[source.value], names, *path)
        match = self._pattern(given["match"], *path, "match") if "match" in given else None
        mapping = given.get("map", {})
        if not isinstance(mapping, dict):
            self._wrong("'map' must be a mapping of shell patterns to values", *path, "map")
            mapping = {}
        rule = Rule(
            source,
            words,
            separator=str(given.get("with", "T")),
            match=match,
            map=tuple((str(k), v) for k, v in mapping.items()),
            to=Kind(k) if (k := self._one_of(given, "to", tuple(k.value for k in Kind), *path)) else None,
            format=self._one_of(given, "format", _FORMATS, *path),
            scale=self._one_of(given, "scale", _SCALES, *path) or "utc",
            times=self._number(given.get("times", 1.0), *path, "times"),
            plus=self._plus(given["plus"], names, *path, "plus") if "plus" in given else None,
            default=given.get("default", MISSING),
            when=self._when(given.get("when", {}), names, *path, "when"),
        )
        return rule if len(self._problems) == before else None

    def _source_words(
        self, source: Source, value: Any, names: Mapping[str, Any], *path: Hashable
    ) -> tuple[Any, ...]:
        path = (*path, source.value)
        if source is Source.VALUE:
            return (value,)
        if source in (Source.CARD, Source.JOIN):
            return self._words(value, *path)
        if source in (Source.FILE, Source.PATH):
            pattern = self._pattern(value, *path)
            return (pattern,) if pattern else ()
        if source is Source.HDU:
            if value not in ("number", "name"):
                self._wrong("'hdu' of a rule is number or name", *path)
            return (value,)
        if value not in names:
            self._wrong(f"{value!r} has no rule{did_you_mean(str(value), names)}", *path)
        return (value,)

    def _pattern(self, value: Any, *path: Hashable) -> re.Pattern[str] | None:
        try:
            return re.compile(value)
        except (re.error, TypeError) as error:
            self._wrong(f"{value!r} is no regular expression: {error}", *path)
            return None

    def _one_of(self, given: Mapping[str, Any], key: str, known: tuple[str, ...], *path: Hashable) -> str:
        value = given.get(key, "")
        if key in given and value not in known:
            hint = did_you_mean(str(value), known)
            self._wrong(f"{key}: {value!r} is none of {', '.join(known)}{hint}", *path, key)
            return ""
        return str(value)

    def _number(self, value: Any, *path: Hashable) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            self._wrong(f"{path[-1]!r} must be a number, and is {value!r}", *path)
            return 1.0
        return value

    def _plus(
        self, value: Any, names: Mapping[str, Any], *path: Hashable
    ) -> tuple[str | float, float] | None:
        what, factor = value if isinstance(value, list) and len(value) == 2 else (value, 1.0)
        if isinstance(what, str):
            if what not in names:
                self._wrong(f"{what!r} has no rule{did_you_mean(what, names)}", *path)
        else:
            what = self._number(what, *path)
        return what, self._number(factor, *path)

    def _when(self, given: Any, names: Mapping[str, Any], *path: Hashable) -> dict[str, tuple[Any, ...]]:
        if not isinstance(given, dict):
            self._wrong("'when' must be a mapping of values to patterns", *path)
            return {}
        for name in given:
            if name not in names:
                self._wrong(f"{name!r} has no rule{did_you_mean(str(name), names)}", *path, name)
        return {str(k): tuple(v) if isinstance(v, list) else (v,) for k, v in given.items()}

    def _find_loop(self, rules: Mapping[str, tuple[Rule, ...]]) -> None:
        needs = {name: [n for rule in found for n in rule.needs()] for name, found in rules.items()}
        done: set[str] = set()
        for start in needs:
            path: list[str] = []
            todo = [(start, 0)]
            while todo:
                name, depth = todo.pop()
                path = path[:depth]
                if name in path:
                    loop = " -> ".join([*path[path.index(name) :], name])
                    self._wrong(f"values rest on each other: {loop}", "values", name)
                    return
                if name in done or name not in needs:
                    continue
                path.append(name)
                todo += ((n, depth + 1) for n in needs[name])
            done.add(start)

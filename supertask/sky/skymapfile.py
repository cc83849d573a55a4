"""Sky maps as YAML: read with every mistake and its line, written so that it reads back equal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs

from supertask.errors import Problems, did_you_mean
from supertask.sky.layouts import Around, Healpix, Layout, Listed, Rings
from supertask.sky.tracts import SkyMapError, Tract
from supertask.yamlfiles.text import Document, YamlError, dump, load, load_file

__all__ = ["Written", "read", "write"]

_HEAD = ("name", "doc", "margin", "digest")
_SHARED = ("pixel_scale", "grid", "patch_size", "border")
_TRACT = ("tract", "ra", "dec", *_SHARED)
_LAYOUTS: dict[str, type[Around | Rings | Healpix]] = {"around": Around, "rings": Rings, "healpix": Healpix}


@attrs.frozen
class Written:
    """What stands in a file."""

    name: str
    layout: Layout
    margin: float = 0.0
    doc: str = ""
    digest: str = ""
    """Of the tracts, when it was written; empty where a person wrote it."""


def read(source: str | Path) -> Written:
    """Return what YAML text, or the file of a path, says.

    Raises
    ------
    SkyMapError
        It is not valid; names every mistake found, each with its line.
    """
    try:
        is_text = isinstance(source, str) and "\n" in source
        document = load(str(source), "sky map") if is_text else load_file(source)
    except YamlError as error:
        raise SkyMapError(f"this is no sky map: {error}") from None
    top = document.value
    ways = ", ".join(repr(w) for w in ("tracts", *_LAYOUTS))
    if not isinstance(top, dict):
        raise SkyMapError(f"{document.source} is no sky map: it must be a mapping with one of {ways}")
    given = [k for k in ("tracts", *_LAYOUTS) if k in top]
    if len(given) != 1:
        has = f"has {' and '.join(given)}" if given else "has none"
        near = next((did_you_mean(str(k), _LAYOUTS) for k in top if did_you_mean(str(k), _LAYOUTS)), "")
        raise SkyMapError(f"{document.source} is no sky map: it must have one of {ways}, and {has}{near}")
    problems = Problems(f"sky map {document.source}")
    listed = given[0] == "tracts"
    known = (*_HEAD, given[0], *(_SHARED if listed else ()))
    _known(top, known, problems, lambda key: document.place(key).line)
    layout: Layout | None = (
        _listed(top, document, problems) if listed else _laid(given[0], document, problems)
    )
    name, margin = top.get("name"), top.get("margin", 0.0)
    if not isinstance(name, str) or not name:
        problems.add("'name' is missing")
    if isinstance(margin, bool) or not isinstance(margin, int | float):
        problems.add(f"'margin' must be a number of arcsec, and is {margin!r}")
    problems.raise_if_any(SkyMapError)
    assert layout is not None  # noqa: S101 - or there was a problem
    return Written(
        str(name), layout, float(margin), str(top.get("doc", "")), str(top.get("digest", "") or "")
    )


def write(written: Written) -> str:
    """Return YAML that `read` reads back equal."""
    head: dict[str, Any] = {"name": written.name, "doc": written.doc, "margin": written.margin}
    if written.digest:
        head["digest"] = written.digest
    layout = written.layout
    if isinstance(layout, Listed):
        return dump({**head, **_plain_tracts(layout.tracts)})
    kind = next(name for name, cls in _LAYOUTS.items() if isinstance(layout, cls))
    values = {
        f.name: list(v) if isinstance(v, tuple) else v
        for f in attrs.fields(type(layout))
        if (v := getattr(layout, f.name)) is not None
    }
    return dump({**head, kind: values})


def _plain_tracts(tracts: Iterable[Tract]) -> dict[str, Any]:
    plain = [
        {
            "tract": t.tract,
            "ra": t.ra,
            "dec": t.dec,
            "pixel_scale": t.pixel_scale,
            "grid": [t.nx, t.ny],
            "patch_size": [t.width, t.height],
            "border": t.border,
        }
        for t in tracts
    ]
    shared = {k: plain[0][k] for k in _SHARED if all(t[k] == plain[0][k] for t in plain)}
    return {**shared, "tracts": [{k: v for k, v in t.items() if k not in shared} for t in plain]}


def _known(given: Mapping[Any, Any], known: Iterable[str], problems: Problems, line: Any) -> None:
    for key in given:
        if key not in known:
            problems.add(f"line {line(key)}: unknown key {key!r}{did_you_mean(str(key), known)}")


# -- tracts one by one --------------------------------------------------------------------------------


def _listed(top: Mapping[str, Any], document: Document, problems: Problems) -> Listed | None:
    if not isinstance(top["tracts"], list):
        problems.add(f"line {document.place('tracts').line}: 'tracts' must be a list")
        return None
    tracts = []
    for i, entry in enumerate(top["tracts"]):
        line = document.place("tracts", i).line
        if not isinstance(entry, dict):
            problems.add(f"line {line}: a tract is a mapping such as {{tract: 0, ra: 10, dec: -5}}")
            continue
        _known(entry, _TRACT, problems, lambda key, i=i: document.place("tracts", i, key).line)
        given = {**{k: top[k] for k in _SHARED if k in top}, "tract": i, **entry}
        tract = _tract(given, problems, line)
        if tract is not None:
            tracts.append(tract)
    return Listed(tuple(tracts))


def _tract(given: Mapping[str, Any], problems: Problems, line: int) -> Tract | None:
    before = len(problems)
    for key in ("ra", "dec", "pixel_scale"):
        _check(given.get(key), key, _number, problems, line)
    for key in ("tract", "border"):
        _check(given.get(key, 0), key, _whole, problems, line)
    for key in ("grid", "patch_size"):
        _check(given.get(key), key, _one_or_two, problems, line)
    if len(problems) > before:
        return None
    (nx, ny), (width, height) = (
        v if isinstance(v, list) else [v, v] for v in (given["grid"], given["patch_size"])
    )
    return Tract(
        given["tract"],
        float(given["ra"]),
        float(given["dec"]),
        float(given["pixel_scale"]),
        nx,
        ny,
        width,
        height,
        given.get("border", 0),
    )


# -- layouts ------------------------------------------------------------------------------------------


def _number(value: Any) -> str:
    return "" if isinstance(value, int | float) and not isinstance(value, bool) else "a number"


def _whole(value: Any) -> str:
    return "" if type(value) is int else "a whole number"


def _wholes(value: Any) -> str:
    fine = isinstance(value, list) and value and all(type(v) is int for v in value)
    return "" if fine else "a list of whole numbers"


def _one_or_two(value: Any) -> str:
    value = [value, value] if type(value) is int else value
    fine = isinstance(value, list) and len(value) == 2 and all(type(v) is int for v in value)
    return "" if fine else "one whole number or two"


def _word(value: Any) -> str:
    return "" if isinstance(value, str) else "a word"


_KINDS: dict[str, Callable[[Any], str]] = {
    **dict.fromkeys(("ra", "dec", "pixel_scale", "radius", "overlap"), _number),
    **dict.fromkeys(("border", "n_rings", "nside"), _whole),
    "grid": _one_or_two,
    "order": _word,
    "cells": _wholes,
}


def _check(value: Any, key: str, kind: Callable[[Any], str], problems: Problems, line: int) -> None:
    wanted = kind(value)
    if wanted:
        problems.add(f"line {line}: {key!r} must be {wanted}, and is {value!r}")


def _laid(kind: str, document: Document, problems: Problems) -> Layout | None:
    before = len(problems)
    cls = _LAYOUTS[kind]
    given = document.value[kind]
    line = document.place(kind).line
    fields = {f.name: f for f in attrs.fields(cls)}
    if not isinstance(given, dict):
        problems.add(f"line {line}: {kind!r} must be a mapping with {', '.join(fields)}")
        return None
    _known(given, tuple(fields), problems, lambda key: document.place(kind, key).line)
    for name, field in fields.items():
        if name in given:
            check = _KINDS.get(name, _one_or_two if cls is Around else _whole)
            _check(given[name], name, check, problems, document.place(kind, name).line)
        elif field.default is attrs.NOTHING:
            problems.add(f"line {line}: {kind!r} needs {name!r}")
    if len(problems) > before:
        return None
    floats = {n for n, check in _KINDS.items() if check is _number}
    values: dict[str, Any] = {n: float(v) if n in floats else v for n, v in given.items()}
    return cls(**values)

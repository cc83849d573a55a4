"""How far two values of one storage format differ: images, spectra, tables, arrays, plain data, text.

A `Difference` has a part for each plane, column or place that can differ. Numbers differ by how much and at
how many places; NaN equals NaN, what is masked is not looked at, quantities are compared in one unit. Where
values are of none of these kinds, their format says itself how they differ: `StorageFormat.compare`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

__all__ = ["Difference", "Part", "Tolerance", "compare_values"]

_MOST = 1000
"""Parts that are listed of one value."""
_PLANES = ("data", "flux", "spectral_axis", "mask", "uncertainty", "flags")
_KEYS = ("id", "source_id", "object_id", "name")
_NUMBERS = "biufc"


@attrs.frozen
class Tolerance:
    """How far numbers may be apart and still count as equal: absolute + relative × the larger of them."""

    absolute: float = attrs.field(default=0.0, validator=attrs.validators.ge(0.0))
    relative: float = attrs.field(default=0.0, validator=attrs.validators.ge(0.0))

    def within(self, apart: npt.NDArray[np.float64], size: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        """Tell where differences are not beyond it."""
        allowed: npt.NDArray[np.bool_] = apart <= self.absolute + self.relative * size
        return allowed


@attrs.frozen(kw_only=True)
class Part:
    """How one plane, column or place of two values differs."""

    what: str
    """Such as ``data``, ``column flux``, ``a.b[3]``."""
    n: int = 1
    """How many values were compared."""
    differing: int = 0
    """How many of them differ beyond the tolerance."""
    unequal: int = 0
    """How many differ at all."""
    most: float = 0.0
    """Largest absolute difference of numbers."""
    mean: float = 0.0
    """Mean absolute difference, over all that were compared."""
    note: str = ""
    """What else is to be said: other shapes, added, removed, other words."""


@attrs.frozen
class Difference:
    """How two values differ."""

    parts: tuple[Part, ...] = ()

    @property
    def is_equal(self) -> bool:
        """Whether they are the same in all that was compared."""
        return not any(p.unequal for p in self.parts)

    @property
    def is_close(self) -> bool:
        """Whether they are the same within the tolerance."""
        return not any(p.differing for p in self.parts)


def compare_values(a: Any, b: Any, tolerance: Tolerance | None = None) -> Difference:
    """Return how two values differ.

    Parameters
    ----------
    a, b : object
        Images and spectra (`astropy.nddata.NDData`, `specutils.Spectrum`), tables, quantities, arrays, masked
        or not, HDU lists, and any nesting of dict, list, numbers and text.
    tolerance : Tolerance, optional
        How far numbers may be apart; none unless given.
    """
    parts: list[Part] = []
    for part in _compare(a, b, tolerance or Tolerance(), ""):
        if len(parts) == _MOST:
            parts.append(Part(what="…", note="more parts differ", differing=1, unequal=1))
            break
        parts.append(part)
    return Difference(tuple(parts))


def _compare(a: Any, b: Any, tolerance: Tolerance, at: str) -> Iterator[Part]:
    if _is_table(a) and _is_table(b):
        yield from _tables(a, b, tolerance, at)
    elif _is_image(a) and _is_image(b):
        yield from _planes(a, b, tolerance, at)
    elif _is_hdus(a) and _is_hdus(b):
        yield from _hdus(a, b, tolerance, at)
    elif isinstance(a, Mapping) and isinstance(b, Mapping):
        yield from _mappings(a, b, tolerance, at)
    elif isinstance(a, str) and isinstance(b, str):
        yield _texts(a, b, at)
    elif isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        yield from _arrays(a, b, tolerance, at or "values")
    elif isinstance(a, list | tuple) and isinstance(b, list | tuple):
        yield from _lists(a, b, tolerance, at)
    elif _is_number(a) and _is_number(b):
        yield from _arrays(np.asarray(a), np.asarray(b), tolerance, at or "value")
    else:
        yield _things(a, b, at or "value")


def _is_table(value: Any) -> bool:
    return hasattr(value, "colnames") and hasattr(value, "columns")


def _is_image(value: Any) -> bool:
    return hasattr(value, "uncertainty") and hasattr(value, "mask") and hasattr(value, "data")


def _is_hdus(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(hasattr(h, "header") for h in value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | complex | np.number) and not isinstance(value, bool)


def _below(at: str, name: str) -> str:
    return f"{at}.{name}" if at else name


def _things(a: Any, b: Any, at: str) -> Part:
    try:
        same = type(a) is type(b) and bool(a == b)
    except (TypeError, ValueError):
        same = False
    if same:
        return Part(what=at)
    return Part(what=at, differing=1, unequal=1, note=f"{_short(a)} → {_short(b)}")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}…"


def _one_sided(at: str, note: str) -> Part:
    return Part(what=at, differing=1, unequal=1, note=note)


# -- plain data ----------------------------------------------------------------------------------


def _mappings(a: Mapping[Any, Any], b: Mapping[Any, Any], tolerance: Tolerance, at: str) -> Iterator[Part]:
    for key in dict.fromkeys([*a, *b]):
        below = _below(at, str(key))
        if key not in b:
            yield _one_sided(below, "removed")
        elif key not in a:
            yield _one_sided(below, "added")
        else:
            yield from _compare(a[key], b[key], tolerance, below)


def _lists(a: Sequence[Any], b: Sequence[Any], tolerance: Tolerance, at: str) -> Iterator[Part]:
    if a and b and all(map(_is_number, a)) and all(map(_is_number, b)):
        yield from _arrays(np.asarray(a), np.asarray(b), tolerance, at or "values")
        return
    if len(a) != len(b):
        yield _one_sided(at or "value", f"{len(a)} → {len(b)} items")
    for i, (x, y) in enumerate(zip(a, b, strict=False)):
        yield from _compare(x, y, tolerance, f"{at}[{i}]")


def _texts(a: str, b: str, at: str) -> Part:
    if "\n" not in a and "\n" not in b:
        return _things(a, b, at or "text")
    ours, theirs = a.splitlines(), b.splitlines()
    unequal = sum(x != y for x, y in zip(ours, theirs, strict=False)) + abs(len(ours) - len(theirs))
    if not unequal and a != b:
        unequal = 1  # nothing but how lines end
    note = f"{len(ours)} → {len(theirs)} lines" if len(ours) != len(theirs) else ""
    n = max(len(ours), len(theirs))
    return Part(what=at or "lines", n=n, differing=unequal, unequal=unequal, note=note)


# -- arrays --------------------------------------------------------------------------------------


def _arrays(a: Any, b: Any, tolerance: Tolerance, at: str) -> Iterator[Part]:
    """Compare arrays, quantities among them, plain or masked."""
    units = [getattr(x, "unit", None) for x in (a, b)]
    if units[0] != units[1]:
        if units[0] is None or units[1] is None or not units[0].is_equivalent(units[1]):
            yield _one_sided(f"{at} unit", f"{units[0]} → {units[1]}")
        else:
            b = b.to(units[0])
    hidden = [np.ma.getmaskarray(x) if np.ma.isMaskedArray(x) else None for x in (a, b)]
    ours, theirs = (
        np.asarray(getattr(x, "value", x) if u is not None else x) for x, u in zip((a, b), units, strict=True)
    )
    if ours.shape != theirs.shape:
        n = max(ours.size, theirs.size)
        yield Part(
            what=at, n=n, differing=n or 1, unequal=n or 1, note=f"shape {ours.shape} → {theirs.shape}"
        )
        return
    if ours.dtype.names or theirs.dtype.names:
        yield from _fields(ours, theirs, tolerance, at)
        return
    keep = np.ones(ours.shape, bool)
    if hidden[0] is not None or hidden[1] is not None:
        masks = [np.zeros(ours.shape, bool) if h is None else h for h in hidden]
        yield from _arrays(masks[0], masks[1], tolerance, f"{at} mask")
        keep = ~(masks[0] | masks[1])
    yield _numbers(ours[keep], theirs[keep], tolerance, at)


def _fields(a: npt.NDArray[Any], b: npt.NDArray[Any], tolerance: Tolerance, at: str) -> Iterator[Part]:
    ours, theirs = ({n: x[n] for n in x.dtype.names or ()} for x in (a, b))
    yield from _mappings(ours, theirs, tolerance, at)


def _numbers(a: npt.NDArray[Any], b: npt.NDArray[Any], tolerance: Tolerance, at: str) -> Part:
    kinds = a.dtype.kind + b.dtype.kind
    note = f"{a.dtype} → {b.dtype}" if a.dtype != b.dtype else ""
    # Of what is true or false, a mask say, nothing is nearly so.
    if kinds == "bb" or not all(kind in _NUMBERS for kind in kinds):
        unequal = int(np.count_nonzero(np.asarray(a != b))) if a.dtype.kind == b.dtype.kind else a.size
        return Part(what=at, n=a.size, differing=unequal, unequal=unequal, note=note)
    same = (a == b) | ((a != a) & (b != b))  # noqa: PLR0124 - what is not itself is NaN
    unequal = int(a.size - np.count_nonzero(same))
    if not unequal:
        return Part(what=at, n=a.size, note=note)
    wide = np.complex128 if "c" in kinds else np.float64
    ours, theirs = a[~same].astype(wide), b[~same].astype(wide)
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.abs(ours - theirs)
        size = np.maximum(np.abs(ours), np.abs(theirs))
        # What is NaN or infinite on one side is never within.
        far = ~(tolerance.within(apart, size) & np.isfinite(apart))
    known = apart[np.isfinite(apart)]
    odd = len(apart) - len(known)
    if odd:
        note = f"{note}; " * bool(note) + f"{odd:,} finite in one only"
    most = float(known.max(initial=0.0))
    mean = float((known / a.size).sum())
    return Part(what=at, n=a.size, differing=int(far.sum()), unequal=unequal, most=most, mean=mean, note=note)


# -- images and spectra --------------------------------------------------------------------------


def _planes(a: Any, b: Any, tolerance: Tolerance, at: str) -> Iterator[Part]:
    units = [str(getattr(x, "unit", None)) for x in (a, b)]
    if units[0] != units[1]:
        yield _one_sided(_below(at, "unit"), f"{units[0]} → {units[1]}")
    names = [n for n in _PLANES if not (n == "data" and hasattr(a, "flux"))]
    for name in names:
        ours, theirs = (_plane(getattr(x, name, None)) for x in (a, b))
        where = _below(at, name)
        if ours is None or theirs is None:
            if (ours is None) != (theirs is None):
                yield _one_sided(where, "removed" if theirs is None else "added")
            continue
        yield from _arrays(ours, theirs, tolerance, where)
    kinds = [getattr(x.uncertainty, "uncertainty_type", None) for x in (a, b)]
    if None not in kinds and kinds[0] != kinds[1]:
        yield _one_sided(_below(at, "uncertainty"), f"{kinds[0]} → {kinds[1]}")
    ours, theirs = (dict(getattr(x, "meta", None) or {}) for x in (a, b))
    # What did not change of a header is nothing to tell.
    yield from (p for p in _mappings(ours, theirs, tolerance, _below(at, "header")) if p.unequal)


def _plane(value: Any) -> Any:
    """Return the numbers of a plane; an uncertainty keeps them in `array`."""
    if value is None or isinstance(value, np.ndarray):
        return value
    return np.asarray(value.array if hasattr(value, "array") else value)


def _hdus(a: Sequence[Any], b: Sequence[Any], tolerance: Tolerance, at: str) -> Iterator[Part]:
    if len(a) != len(b):
        yield _one_sided(at or "HDUs", f"{len(a)} → {len(b)}")
    for i, (x, y) in enumerate(zip(a, b, strict=False)):
        where = _below(at, f"{x.name or 'HDU'}[{i}]")
        ours, theirs = ({c.keyword: c.value for c in h.header.cards if c.keyword} for h in (x, y))
        yield from (p for p in _mappings(ours, theirs, tolerance, f"{where} header") if p.unequal)
        if (x.data is None) != (y.data is None):
            yield _one_sided(where, "data removed" if y.data is None else "data added")
        elif x.data is not None:
            yield from _arrays(np.asarray(x.data), np.asarray(y.data), tolerance, where)


# -- tables --------------------------------------------------------------------------------------


def _tables(a: Any, b: Any, tolerance: Tolerance, at: str) -> Iterator[Part]:
    """Compare tables column by column, rows paired by a key that both have, else in order."""
    names = list(dict.fromkeys([*a.colnames, *b.colnames]))
    for name in names:
        if name not in b.colnames:
            yield _one_sided(_below(at, f"column {name}"), "removed")
        elif name not in a.colnames:
            yield _one_sided(_below(at, f"column {name}"), "added")
    shared = [n for n in names if n in a.colnames and n in b.colnames]
    key = next((n for n in _KEYS if n in shared and _is_key(a[n]) and _is_key(b[n])), None)
    if key is not None:
        _, first, second = np.intersect1d(np.asarray(a[key]), np.asarray(b[key]), return_indices=True)
        removed, added = len(a) - len(first), len(b) - len(second)
    else:
        first = second = np.arange(min(len(a), len(b)))
        removed, added = len(a) - len(first), len(b) - len(second)
    by = f"by {key}" if key is not None else "in order"
    yield Part(
        what=_below(at, "rows"), n=max(len(a), len(b)), differing=removed + added, unequal=removed + added,
        note=f"paired {by}; {removed} removed, {added} added" if removed or added else "",
    )  # fmt: skip
    for name in shared:
        if name != key:
            ours, theirs = _column(a[name][first]), _column(b[name][second])
            yield from _arrays(ours, theirs, tolerance, _below(at, f"column {name}"))


def _is_key(column: Any) -> bool:
    values = np.asarray(column)
    return values.ndim == 1 and values.dtype.kind in "iuUS" and len(np.unique(values)) == len(values)


def _column(column: Any) -> Any:
    """Return the values of a column: times and coordinates as their text, which both have in one form."""
    if isinstance(column, np.ndarray):
        return column
    return np.array([str(value) for value in column])

"""What on the sky comes nearest to a region that a condition speaks of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphbuilder.loading.lookups import on_the_sky
from graphbuilder.reasons.nearest import said
from supertask.butler.port import AbstractButler
from supertask.conditions import Condition, Members, Name, Overlaps, Place
from supertask.errors import SuperTaskError

__all__ = ["how_far", "nearest_on_sky"]

_SHOWN = 3
_OUTLINES = 100
"""Outlines looked at: a visit has one for each of its detectors."""


def nearest_on_sky(butler: AbstractButler, condition: Condition) -> tuple[str, ...]:
    """Return what comes nearest to the region that a condition names.

    Parameters
    ----------
    butler : AbstractButler
        The repository.
    condition : Condition
        A condition as it was looked up.

    Returns
    -------
    tuple of str
        Data IDs with their distance from the region, three at most, the nearest first; none if the
        condition is not about the sky.
    """
    from supertask.sky.regions import nearest

    asked = _asked(condition)
    if asked is None:
        return ()
    look = on_the_sky(butler)
    units = butler.model.closure(asked.units)
    found: dict[str, float] = {}
    try:
        region = look.region(asked)
        for outlines in look.outlines(asked, region):
            rows, apart = nearest(region, outlines, _OUTLINES)
            for row, distance in zip(rows.tolist(), apart.tolist(), strict=True):
                what = ", ".join(f"{u}={said(outlines.keys[u][row])}" for u in units)
                found[what] = min(distance, found.get(what, distance))
    except SuperTaskError:
        return ()  # the footprints or the sky map are gone since
    by_distance = sorted(found.items(), key=lambda item: item[1])
    return tuple(f"{what} ({_degrees(d) if d else 'in it'})" for what, d in by_distance[:_SHOWN])


def how_far(butler: AbstractButler, condition: Condition, values: Mapping[Name, Any]) -> str:
    """Say how far something is from the region that a condition names, and what comes nearest.

    Parameters
    ----------
    butler, condition
        As for `nearest_on_sky`.
    values : Mapping
        What names have for it.

    Returns
    -------
    str
        In words; empty if the condition is not about the sky.
    """
    from supertask.sky.regions import nearest

    asked = _asked(condition)
    if asked is None:
        return ""
    keys = {u: values.get(Name(u)) for u in butler.model.closure(asked.units)}
    near = nearest_on_sky(butler, condition)
    comes = f"; the nearest: {', '.join(near)}" if near else ""
    look = on_the_sky(butler)
    place = Place(asked.units[-1], tuple((u, k) for u, k in keys.items() if k is not None))
    try:
        own = look.region(Overlaps(asked.units, place)).footprints
        _, apart = nearest(look.region(asked), own, 1)
    except SuperTaskError:
        return f"nothing is known of where on the sky it is{comes}"
    return f"it is {_degrees(float(apart[0]))} from there{comes}"


def _asked(condition: Condition) -> Overlaps | None:
    return condition.asked if isinstance(condition, Members) else None


def _degrees(apart: float) -> str:
    if apart < 1 / 60:
        return f"{3600 * apart:.3g} arcsec"
    return f"{apart:.3g} deg"

"""Inputs that are looked up by time: the nearest, or the latest before, of those that are alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from supertask.errors import PreflightError
from supertask.repograph.columns import Edges, pack_both
from supertask.repograph.relate import Rows, common_units
from supertask.repograph.space import UnitSpace
from supertask.temporal import NO_TIME, latest_before, nearest_in_time
from supertask.units import FieldKind, UnitModel

__all__ = ["alike_units", "look_up_by_time", "time_unit", "times_of"]


def time_unit(model: UnitModel, units: Iterable[str]) -> tuple[str, str] | None:
    """Return the last of the units that has a field of kind time, and that field; None if none has."""
    for unit in reversed(model.determined(units)):
        for field in model.unit(unit).fields:
            if field.kind is FieldKind.TIME:
                return unit, field.name
    return None


def alike_units(
    model: UnitModel, quantum_units: Iterable[str], dataset_units: Iterable[str], alike: Iterable[str] = ()
) -> tuple[str, ...]:
    """Return the units that must be the same in a quantum and in the dataset that is looked up by time.

    Raises
    ------
    PreflightError
        The dataset's units have no time, or a unit of `alike` does not follow from both.
    """
    dated = time_unit(model, dataset_units)
    if dated is None:
        raise PreflightError(
            f"no unit of ({', '.join(dataset_units)}) has a field of kind time, so nothing of it is nearest "
            "in time"
        )
    without = [u for u in model.closure(dataset_units) if dated[0] not in model.closure((u,))]
    ours, theirs = set(model.determined(quantum_units)), set(model.determined(dataset_units))
    for unit in alike:
        if unit not in ours & theirs:
            raise PreflightError(
                f"{unit!r} cannot be alike: it does not follow from ({', '.join(quantum_units)}) and from "
                f"({', '.join(dataset_units)})"
            )
    return model.sort({*(set(model.determined(without)) & ours), *alike})


def times_of(space: UnitSpace, columns: Rows) -> npt.NDArray[np.int64] | None:
    """Return the time of each row, shape (n,), `NO_TIME` where it has none; None if no unit has times."""
    found = time_unit(space.model, [u for u in columns.columns if u in space.tables])
    if found is None or found[0] not in space.tables:
        return None
    unit, name = found
    codes = space.column(columns.columns, unit)
    values = space.field(unit, name)
    null = space.tables[unit].nulls.get(name)
    if not len(values):
        return np.full(len(codes), NO_TIME)
    times: npt.NDArray[np.int64] = np.where(codes < 0, NO_TIME, values[codes])
    return times if null is None else np.where(null[codes], NO_TIME, times)


def look_up_by_time(
    space: UnitSpace,
    quanta: Rows,
    datasets: Rows,
    dataset_units: Sequence[str],
    *,
    before: bool,
    max_gap: int | None = None,
    alike: Iterable[str] = (),
) -> Edges:
    """Return for each quantum the one dataset that is nearest in time, or the latest before.

    Parameters
    ----------
    space : UnitSpace
        Their units.
    quanta, datasets : Rows
        What to relate.
    dataset_units : sequence of str
        Of the dataset type.
    before : bool
        Whether it must not be after the quantum.
    max_gap : int, optional
        Nanoseconds that it may be away.
    alike : iterable of str, optional
        Units that must be the same besides those that its other units share with the quanta.

    Raises
    ------
    PreflightError
        The quanta or the datasets have no time.
    """
    model = space.model
    same = common_units(space, alike_units(model, tuple(quanta.columns), dataset_units, alike), model.names)
    at, when = times_of(space, quanta), times_of(space, datasets)
    if at is None or when is None:
        raise PreflightError(
            f"an input is looked up by time, but no unit of ({', '.join(quanta.columns)}) has a field "
            "of kind time"
        )
    keys = [
        [space.column(rows.columns, u) for u in same] or [np.zeros(rows.n, np.int32)]
        for rows in (quanta, datasets)
    ]
    groups, candidate_groups = pack_both(keys[0], keys[1], space.sizes(same) or [1])
    # Null belongs to nothing.
    at = np.where(groups < 0, NO_TIME, at)
    when = np.where(candidate_groups < 0, NO_TIME, when)
    search = latest_before if before else nearest_in_time
    found = search(at, when, max_gap, groups=groups, candidate_groups=candidate_groups)
    hit = np.flatnonzero(found >= 0)
    return Edges.from_pairs(quanta.n, hit, found[hit])

"""Overrides that the package of a camera ships, found by entry point and by nothing else.

An entry point of the group ``supertask.overrides`` is named as the instrument is in data IDs, and gives
the path of a YAML file, or the overrides themselves (an iterable of `DataOverride`). Nothing is taken in
unless a pipeline names the camera. What is taken in holds for data of that instrument alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs

from supertask.errors import PipelineError, Problems, did_you_mean
from supertask.pipelines.dataoverrides import (
    RANK_CAMERA,
    RANK_PIPELINE,
    DataOverride,
    FilePlace,
    expression,
    from_plain,
)
from supertask.pipelines.schema import load_schema, numbered, well_formed
from supertask.yamlfiles.text import Document, YamlError, load_file

__all__ = ["ENTRY_POINT_GROUP", "camera_overrides", "read_entries", "read_overrides"]

ENTRY_POINT_GROUP = "supertask.overrides"
"""Each entry point is the path of a YAML file, or an iterable of `DataOverride`; its name an instrument."""


def camera_overrides(camera: str) -> tuple[DataOverride, ...]:
    """Return what the package of a camera says for its data.

    Raises
    ------
    PipelineError
        No package ships overrides for it, or what it ships is wrong.
    """
    from importlib.metadata import entry_points

    offered = {e.name: e for e in entry_points(group=ENTRY_POINT_GROUP)}
    if camera not in offered:
        raise PipelineError(
            f"no installed package ships overrides for camera {camera!r}{did_you_mean(camera, offered)}; "
            f"those that do (entry points {ENTRY_POINT_GROUP}): {', '.join(sorted(offered)) or 'none'}"
        )
    entry = offered[camera]
    try:
        found: Any = entry.load()
    except Exception as error:
        raise PipelineError(
            f"entry point {entry.value!r} of camera {camera!r} cannot be loaded: {error}"
        ) from error
    if isinstance(found, str | Path):
        found = read_overrides(found)
    else:
        found = tuple(found) if isinstance(found, Iterable) else (found,)
    if not all(isinstance(o, DataOverride) for o in found):
        raise PipelineError(
            f"entry point {entry.value!r} of camera {camera!r} must give a path of a YAML file, or overrides"
        )
    return tuple(_of_camera(o, camera, entry.value) for o in found)


def _of_camera(override: DataOverride, camera: str, entry: str) -> DataOverride:
    """Hold an override to the data of its camera."""
    when: dict[str, Any] | str
    if isinstance(override.when, Mapping):
        when = {"instrument": camera, **{k: v for k, v in override.when.items() if k != "instrument"}}
    else:
        quoted = camera.replace("'", "''")
        said = expression(override.when)
        when = f"instrument = '{quoted}'" + (f" AND ({said})" if said else "")
    source = override.source or f"entry point {entry}"
    return attrs.evolve(
        override, when=when, rank=min(override.rank, RANK_PIPELINE - 1), camera=camera, source=source
    )


def read_overrides(path: str | Path) -> tuple[DataOverride, ...]:
    """Read a file of overrides: under ``overrides``, label → list of them as a pipeline file has it.

    Raises
    ------
    PipelineError
        Names everything that is wrong, with file, line and column.
    """
    try:
        document = load_file(path)
    except YamlError as error:
        raise PipelineError(str(error)) from None
    problems = Problems(document.source)
    shape = well_formed(document, load_schema("overrides"), problems)
    problems.raise_if_any(PipelineError)
    found = []
    for label, entries in shape["overrides"].items():
        found += read_entries(document, label, entries, ("overrides", label), problems, rank=RANK_CAMERA)
    problems.raise_if_any(PipelineError)
    return tuple(found)


def read_entries(
    document: Document,
    label: str,
    entries: Iterable[Mapping[str, Any]],
    path: tuple[Any, ...],
    problems: Problems,
    **further: Any,
) -> list[DataOverride]:
    """Return the overrides that a list in a file says; what is wrong is noted with its place."""
    made = []
    for i, entry in numbered(entries):
        at, given = document.at(*path, i), FilePlace(document, (*path, i))
        try:
            made.append(from_plain(label, entry, source=at, given=given, **further))
        except PipelineError as error:
            problems.take(error, f"{at}: override of {label!r}: ")
    return made

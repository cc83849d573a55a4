"""Tags of runs and of the datasets in them, as a repository has them; see `supertask.tasks.tags`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from supertask.butler.port import AbstractButler, CollectionKind
from supertask.errors import CollectionError, ConfigError, did_you_mean
from supertask.tasks.tags import check_tags, matches

__all__ = ["dataset_tags", "run_tags", "set_run_tags", "tagged"]


def run_tags(butler: AbstractButler, run: str) -> dict[str, Any]:
    """Return the tags of a run itself.

    Raises
    ------
    CollectionError
        There is no such run.
    """
    runs = _runs(butler)
    if run not in runs:
        raise CollectionError(
            f"there is no run {run!r}{did_you_mean(run, runs)}; there are {', '.join(runs) or 'none'}"
        )
    return dict(butler.run_provenance(run).get("tags", {}).get("run", {}))


def set_run_tags(
    butler: AbstractButler, run: str, tags: Mapping[str, Any], remove: Iterable[str] = ()
) -> dict[str, Any]:
    """Give a run tags, and take others away; return those that it has then.

    Raises
    ------
    CollectionError
        There is no such run.
    ConfigError
        A tag is no word with a plain value, or one to be taken away is not there.
    """
    found = run_tags(butler, run)
    for name in remove:
        if name not in found:
            raise ConfigError(f"run {run!r} has no tag {name!r}{did_you_mean(name, found)}")
        del found[name]
    found |= check_tags(tags, f"run {run!r}")
    provenance = butler.run_provenance(run)
    butler.set_run_provenance(run, {**provenance, "tags": {**provenance.get("tags", {}), "run": found}})
    return found


def dataset_tags(butler: AbstractButler, run: str, dataset_type: str) -> dict[str, Any]:
    """Return the tags of the datasets of a type in a run: those of the run, and of what made them."""
    return _merged(butler.run_provenance(run).get("tags", {}), dataset_type)


def tagged(
    butler: AbstractButler, wanted: Mapping[str, str], dataset_type: str | None = None
) -> list[tuple[str, str, dict[str, Any]]]:
    """Return what has all the tags that are wanted.

    Parameters
    ----------
    butler : AbstractButler
        The repository.
    wanted : Mapping
        Name → value as text; an empty value stands for any.
    dataset_type : str, optional
        Only datasets of this type.

    Returns
    -------
    list of tuple
        Run, dataset type and tags. The type is empty where the run itself has the tags, and with it all
        that is in it.
    """
    found = []
    for run in _runs(butler):
        tags = butler.run_provenance(run).get("tags", {})
        of_run = tags.get("run", {})
        if matches(of_run, wanted):
            found.append((run, "", dict(of_run)))
            continue
        names = tags.get("types", {}) if dataset_type is None else [dataset_type]
        for name in names:
            merged = _merged(tags, name)
            if matches(merged, wanted):
                found.append((run, name, merged))
    return found


def _runs(butler: AbstractButler) -> list[str]:
    return [c.name for c in butler.collection_infos() if c.kind is CollectionKind.RUN]


def _merged(tags: Mapping[str, Any], dataset_type: str) -> dict[str, Any]:
    return {**tags.get("run", {}), **tags.get("types", {}).get(dataset_type, {})}

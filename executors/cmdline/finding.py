"""How commands find the repository and run that they are asked about."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from supertask.errors import ExecutionError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable

    from graphbuilder.dag.dag import ScienceDag
    from supertask.butler.repository import Butler
    from supertask.units import UnitModel

__all__ = ["PUT_BACK", "find_root", "find_run", "home_of", "in_repository", "unit_values"]

_ROOT_FILE = "supertask.yaml"


def in_repository(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--repo``."""
    return click.option(
        "--repo", type=click.Path(path_type=Path), default=None, metavar="REPO",
        help="The repository; the one that the current folder is in, unless given.",
    )(function)  # fmt: skip


def find_root(repo: Path | None) -> Path:
    """Return the folder of the repository given, or of the one that the current folder is in."""
    if repo is not None:
        return repo
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / _ROOT_FILE).is_file():
            return folder
    raise click.UsageError(f"{here} is in no repository (it has no {_ROOT_FILE}): say which with --repo REPO")


PUT_BACK = "put it back, or a link in its place"
"""What to do with a repository that was moved, where others look for it too."""


def home_of(dag: ScienceDag, way: str = "say where it is with --repo REPO") -> str:
    """Return the repository that a plan was made for.

    Raises
    ------
    ExecutionError
        It is not there any more; `way` is what to do if it was moved.
    """
    root = dag.meta.butler_root
    if not Path(root, _ROOT_FILE).exists():
        raise ExecutionError(f"the plan's repository {root} is not there; if it was moved, {way}")
    return root


def find_run(word: str, repo: Path | None) -> tuple[Path, str]:
    """Return repository and name of a run: the RUN collection, or the file of its plan.

    Raises
    ------
    ExecutionError
        There is no such run; names those that there are.
    """
    if Path(word).is_file():
        from graphbuilder.dag.dag import ScienceDag

        dag = ScienceDag.open(word)
        return repo or Path(home_of(dag)), dag.meta.output_run
    root = find_root(repo)
    from executors.journal.runfolder import RunFolder
    from supertask.butler.repository import Butler

    if not RunFolder(str(root), word).journal.is_dir():
        with Butler(root, writeable=False) as butler:
            known = _runs(butler)
        if word not in known:
            raise ExecutionError(
                f"there is no run {word!r} in {root}{did_you_mean(word, known)}; "
                f"it has {', '.join(known) or 'none'}"
            )
    return root, word


def _runs(butler: Butler) -> list[str]:
    return [c.name for c in butler.collection_infos() if c.kind.value == "run"]


def unit_values(pairs: tuple[str, ...], model: UnitModel) -> dict[str, int | str]:
    """Return the values of ``UNIT=VALUE`` words, of the kinds that the units have."""
    found: dict[str, int | str] = {}
    for word in pairs:
        unit, equals, text = word.partition("=")
        if not equals or not unit:
            raise click.UsageError(f"{word!r} is not UNIT=VALUE")
        if unit in found:
            raise click.UsageError(f"{unit!r} is given twice")
        whole = any(u.name == unit and u.key.value == "int" for u in model)
        found[unit] = int(text) if whole and text.removeprefix("-").isdecimal() else text
    return found

"""Options of ``supertask preflight`` that say what need not run, and which part is to be planned."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from executors.cmdline import terminal
from executors.cmdline.options import together, words

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from executors.journal.runfolder import RunFolder
    from graphbuilder.dag.dag import ScienceDag
    from graphbuilder.dag.reused import Reused
    from graphbuilder.reuse.planning import Reuse
    from supertask.butler.port import AbstractButler

__all__ = ["partial", "reuse_of", "reusing", "show_reused"]

F = TypeVar("F", bound=Callable[..., Any])


def reusing(function: F) -> F:
    """Add what `reuse_of` takes."""
    options: tuple[Callable[[Any], Any], ...] = (
        click.option("--skip-existing", is_flag=True,
                     help="Leave out what earlier runs made with an equal identity, whichever run it was."),
        click.option("--reuse-from", metavar="A,B,…", default=None,
                     callback=lambda _context, _option, value: words(value),
                     help="As --skip-existing, of these runs (or chains of runs) alone."),
        click.option("--by-existence", is_flag=True,
                     help="Skip whatever is there by its data ID, however it was made."),
        click.option("--verify", is_flag=True,
                     help="Compare what is to be reused with its checksum; what was altered is made again."),
        click.option("--trust-registry", is_flag=True, help="Do not look whether files are there."),
        click.option("--failed", metavar="RUN", default=None,
                     help="Plan only what failed in this run, and what waits for it."),
        click.option("--unfinished", metavar="RUN", default=None,
                     help="Plan only what did not succeed in this run: failed, blocked or never begun."),
    )  # fmt: skip
    return cast("F", together(*options)(function))


def partial(function: F) -> F:
    """Add ``--tasks``, ``--like``, ``--identity`` and ``--clobber``, as a dict `part` for `Planning`."""

    @functools.wraps(function)
    def called(
        *,
        tasks: tuple[str, ...] | None,
        like: Path | None,
        identity: str | None,
        clobber: bool,
        **given: Any,
    ) -> Any:
        part = {"tasks": tasks or (), "like": like, "identity": identity, "clobber": clobber}
        return function(part=part, **given)

    options: tuple[Callable[[Any], Any], ...] = (
        click.option("--tasks", metavar="A,B,…", default=None,
                     callback=lambda _context, _option, value: words(value),
                     help="Plan these tasks alone: labels, subsets, or ranges such as ..warp, coadd.. or "
                     "isr..warp."),
        click.option("--like", type=click.Path(path_type=Path), default=None, metavar="PLAN",
                     help="Plan the data IDs of this earlier plan alone."),
        click.option("--identity", type=click.Choice(["declared", "source"]), default=None,
                     help="What stands for the code of tasks in identities: their version, or their source "
                     "code too; what each task says, unless given."),
        click.option("--clobber", is_flag=True,
                     help="Replace what the output run holds already of what is planned, when the plan is "
                     "run."),
    )  # fmt: skip
    return cast("F", together(*options)(called))


def reuse_of(
    butler: AbstractButler,
    *,
    skip_existing: bool,
    reuse_from: Sequence[str] | None,
    by_existence: bool,
    verify: bool,
    trust_registry: bool,
    failed: str | None,
    unfinished: str | None,
) -> Reuse | None:
    """Return what the options say is to be reused; None where they say nothing."""
    if verify and trust_registry:
        raise click.UsageError("--verify reads every file and --trust-registry none: give one of them")
    runs = [r for r in (failed, unfinished) if r is not None]
    if len(runs) + (reuse_from is not None) > 1:
        raise click.UsageError(
            "give one of --reuse-from, --failed and --unfinished: each says which run counts"
        )
    if not (skip_existing or reuse_from is not None or by_existence or runs):
        if verify or trust_registry:
            raise click.UsageError(
                "--verify and --trust-registry say how to look at what is there: give --skip-existing with "
                "them"
            )
        return None
    from graphbuilder.reuse.planning import Check, Ground, Reuse

    collections = tuple(runs) or (None if reuse_from is None else tuple(reuse_from))
    check = Check.CONTENT if verify else Check.REGISTRY if trust_registry else Check.FILES
    ended = _Journals(butler, collections)
    return Reuse(
        collections,
        check,
        Ground.EXISTENCE if by_existence else Ground.IDENTITY,
        only=None if failed is None else ended.failed_anywhere,
        settled=ended.without_work,
        failed=ended.failed,
    )


class _Journals:
    """How quanta ended in earlier runs, as far as their journals are there."""

    def __init__(self, butler: AbstractButler, runs: Sequence[str] | None) -> None:
        self._butler = butler
        self._runs = runs
        self._failed: dict[str, npt.NDArray[np.bool_]] | None = None

    def without_work(self, dag: ScienceDag) -> npt.NDArray[np.bool_]:
        """Return which quanta came to have no work in some run, shape (n,)."""
        import numpy as np

        from executors.journal.replay import replay
        from executors.outcome import QuantumStatus

        found = np.zeros(dag.n_quanta, bool)
        for folder in self._folders():
            statuses = replay(folder, np.asarray(dag.identities)).statuses
            found |= statuses == QuantumStatus.NO_WORK.code
        return found

    def failed(self, dag: ScienceDag) -> dict[str, npt.NDArray[np.bool_]]:
        """Return, run for run, which quanta failed last there, shape (n,).

        They are known by task and data ID: a quantum whose task was mended is of another identity.
        """
        if self._failed is None:
            from executors.journal.failedbefore import failed_quanta

            self._failed = {f.run: failed_quanta(f, dag) for f in self._folders()}
        return self._failed

    def failed_anywhere(self, dag: ScienceDag) -> npt.NDArray[np.bool_]:
        """Return which quanta failed in some run, shape (n,)."""
        import numpy as np

        found = np.zeros(dag.n_quanta, bool)
        for failed in self.failed(dag).values():
            found |= failed
        return found

    def _folders(self) -> Iterator[RunFolder]:
        from executors.journal.runfolder import RunFolder
        from supertask.butler.port import CollectionKind

        infos = {c.name: c for c in self._butler.collection_infos()}
        open_names = list(infos if self._runs is None else self._runs)
        seen: set[str] = set()
        while open_names:
            name = open_names.pop()
            if name in seen or name not in infos:
                continue
            seen.add(name)
            open_names += infos[name].children
            folder = RunFolder(self._butler.root, name)
            if infos[name].kind is CollectionKind.RUN and folder.journal.is_dir():
                yield folder


def show_reused(reused: Reused) -> None:
    """Show how much is reused, from which run, and why the rest must run."""
    terminal.table(
        ["task", "quanta", "reused", "to run"],
        [[t.label, t.planned, t.reused, t.run] for t in reused.tasks],
        title="What is there already",
    )
    rows: list[list[Any]] = []
    for t in reused.tasks:
        rows += [[t.label, n, f"reused from {run}"] for run, n in t.runs.items()]
        rows += [[t.label, t.without, "not needed, or known to have no work"]] if t.without else []
        rows += [[t.label, t.aside, "not there either, and not asked for"]] if t.aside else []
        rows += [[t.label, n, f"to run: {why}"] for why, n in t.because.items()]
        rows += [[t.label, n, f"differs: {what}"] for what, n in t.differs.items()]
    if rows:
        terminal.table(["task", "quanta", "why"], rows, title="Why")

"""``supertask identity``: what makes quanta and datasets the same, or others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from executors.cmdline import terminal
from executors.cmdline.options import as_json, see_local_modules
from executors.cmdline.options import command as define

if TYPE_CHECKING:
    from graphbuilder.comparing.identitydiff import Maker, Side
    from graphbuilder.dag.dag import ScienceDag
    from supertask.butler.port import AbstractButler
    from supertask.datasets import Dataset

__all__ = ["command"]


@click.group(
    "identity",
    short_help="Tell in what two identities part.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
def command() -> None:
    """Look into what makes quanta and datasets the same, or others."""


@define("diff", short_help="Tell in what two identities part.")
@click.argument("a")
@click.argument("b")
@click.option(
    "--repo", type=click.Path(path_type=Path), default=None, metavar="REPO",
    help="The repository; where the plans say, or the current folder, unless given.",
)  # fmt: skip
@as_json
def diff(*, a: str, b: str, repo: Path | None, as_json: bool) -> int:
    """Tell in what the identities of A and B part, following inputs upstream to where it begins.

    Each is a quantum of a plan's file or a dataset of a run in the repository:

    \b
    plan.h5#12                       the quantum of that number
    plan.h5#warp,visit=42,patch=3    the quantum of that task and data ID
    u/me/run1#coadd,patch=3,band=r   the dataset of that type and data ID

    Units of which there is one instance only may be left out. Exits with 0 if the identities are equal, with
    1 if not, with 2 if one of the two is not there.
    """  # noqa: D301 - click reads the backspace
    from graphbuilder.comparing.identitydiff import identity_diff

    places = _Places(repo, [a, b])
    found = identity_diff(*_alike(places.side(a), places.side(b)))
    if as_json:
        terminal.objects([found.to_dict()])
    else:
        terminal.line(str(found))
    return 0 if found.is_same else 1


command.add_command(diff)


def _alike(a: Side, b: Side) -> tuple[Side, Side]:
    """Let a dataset beside a quantum stand for the quantum that made it."""
    from attrs import evolve

    if a.maker is None or b.maker is None or a.is_dataset == b.is_dataset:
        return a, b
    one, other = (evolve(s, identity=s.maker.record().identity) for s in (a, b) if s.maker is not None)
    return one, other


class _Places:
    """Finds what words name: plans that are given, and the repository with the plans of its runs."""

    def __init__(self, repo: Path | None, words: list[str]) -> None:
        from graphbuilder.dag.dag import ScienceDag

        self._plans: dict[str, ScienceDag] = {}
        for word in words:
            name, mark, _ = word.rpartition("#")
            if not mark or not name:
                raise click.UsageError(
                    f"{word!r}: write PLAN#NUMBER, PLAN#TASK,UNIT=VALUE… or RUN#TYPE,UNIT=VALUE…"
                )
            if Path(name).is_file() or name.endswith(".h5"):
                self._plans[name] = ScienceDag.load(name)
                see_local_modules(Path(name).parent)
        self._butler = self._open(repo)
        self._kept: list[ScienceDag] | None = None

    def _open(self, repo: Path | None) -> AbstractButler | None:
        from supertask.butler.repository import Butler

        if repo is not None:
            return Butler(repo, writeable=False)
        roots = [Path(p.meta.butler_root) for p in self._plans.values() if p.meta.butler_root]
        here = [r for r in (*roots, Path.cwd()) if (r / "supertask.yaml").is_file()]
        return Butler(here[0], writeable=False) if here else None

    def side(self, word: str) -> Side:
        """Return the quantum or dataset that a word names."""
        name, _, what = word.rpartition("#")
        plan = self._plans.get(name)
        return self._dataset(word, name, what) if plan is None else self._quantum(word, plan, what)

    def _quantum(self, word: str, plan: ScienceDag, what: str) -> Side:
        from graphbuilder.comparing.identitydiff import Maker, Side

        if what.isdecimal():
            plan.task_of(int(what))  # says which numbers there are
            maker = Maker(plan, int(what))
        else:
            label, given = _parsed(word, what)
            units = plan.model.closure(plan.task(label).quantum_units)
            for unit in units:
                if unit not in given and unit in plan.space.tables and plan.space.size(unit) == 1:
                    given[unit] = str(plan.space.tables[unit].keys[0])
            typed = {u: _typed(plan.model.unit(u).key.value, v) for u, v in given.items()}
            maker = Maker(plan, plan.find_quantum(label, typed))
        return Side(word, plan.identities[maker.index].tobytes(), maker, self.find)

    def _dataset(self, word: str, run: str, what: str) -> Side:
        from graphbuilder.comparing.identitydiff import Side
        from supertask.errors import CollectionError, DatasetNotFoundError, did_you_mean

        butler = self._butler
        if butler is None:
            raise click.UsageError(
                f"{word!r}: there is no plan {run!r}; for datasets of a run give --repo REPO"
            )
        name, given = _parsed(word, what)
        known = [c.name for c in butler.collection_infos()]
        if run not in known:
            raise CollectionError(
                f"there is no plan and no collection {run!r}{did_you_mean(run, known)}; the repository has "
                f"{', '.join(known) or 'none'}"
            )
        types = butler.dataset_types()
        if name not in types:
            raise DatasetNotFoundError(
                f"the repository has no dataset type {name!r}{did_you_mean(name, types)}; "
                f"it has {', '.join(sorted(types)) or 'none'}"
            )
        typed: dict[str, Any] = {u: _typed(butler.model.unit(u).key.value, v) for u, v in given.items()}
        there = butler.query(name, collections=[run], **typed)
        if len(there) != 1:
            raise DatasetNotFoundError(
                f"{word!r} names {terminal.counted(len(there), 'dataset')} in {run!r}: give the data ID of "
                "one" + "".join(f"\n  {d.dataId}" for d in there[:5])
            )
        record = butler.locate(there[0], collections=[run])
        maker = self.find(there[0], record.identity)
        return Side(word, record.identity, maker, self.find, is_dataset=True)

    def find(self, dataset: Dataset, identity: bytes) -> Maker | None:
        """Return the quantum that made a dataset, where a plan of some run is kept that has it."""
        import numpy as np

        from graphbuilder.comparing.identitydiff import Maker

        for plan in self._all_kept():
            dataset_type = next((t for t in plan.producers if t.name == dataset.name), None)
            row = None if dataset_type is None else plan.datasets[dataset_type].find(dataset.dataId)
            if dataset_type is None or row is None:
                continue
            rows = np.array([row])
            maker = int(plan.producers[dataset_type].of(rows)[0])
            if maker >= 0 and plan.dataset_identities(dataset_type, rows).tobytes() == identity:
                return Maker(plan, maker)
        return None

    def _all_kept(self) -> Iterator[ScienceDag]:
        """Give the plans at hand, then those that runs keep."""
        yield from self._plans.values()
        if self._kept is None:
            self._kept = list(self._read_kept())
        yield from self._kept

    def _read_kept(self) -> Iterator[ScienceDag]:
        from executors.journal.plankeeping import kept_plans
        from executors.journal.runfolder import RunFolder
        from graphbuilder.dag.dag import ScienceDag
        from supertask.errors import DagFileError

        if self._butler is None or not self._butler.root:
            return
        for info in self._butler.collection_infos():
            for path in kept_plans(RunFolder(self._butler.root, info.name)):
                try:
                    yield ScienceDag.load(path)
                except DagFileError as error:
                    terminal.note(f"{path} is passed over: {error}")


def _parsed(word: str, what: str) -> tuple[str, dict[str, str]]:
    name, *pairs = (part.strip() for part in what.split(","))
    given: dict[str, str] = {}
    for pair in pairs:
        unit, equals, value = pair.partition("=")
        if not equals or not unit:
            raise click.UsageError(f"{word!r}: {pair!r} is not UNIT=VALUE")
        if unit in given:
            raise click.UsageError(f"{word!r}: {unit!r} is given twice")
        given[unit] = value
    if not name or "=" in name:
        raise click.UsageError(f"{word!r}: after # comes a number, or a name and then UNIT=VALUE, …")
    return name, given


def _typed(kind: str, text: str) -> int | str:
    return int(text) if kind == "int" and text.removeprefix("-").isdecimal() else text

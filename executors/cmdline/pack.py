"""``supertask pack``: make folders of bundles that run where there is no database, or no repository."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from executors.cmdline import terminal
from executors.cmdline.finding import PUT_BACK, home_of
from executors.cmdline.options import as_json, moved, see_local_modules
from executors.cmdline.options import command as define

__all__ = ["command", "pack_one"]


@define("pack", short_help="Pack bundles of a plan that may run now, to be run by hand or by a batch system.")
@click.argument("plan", type=click.Path(path_type=Path))
@click.option("--bundle", "bundles", type=click.IntRange(min=0), multiple=True, metavar="N",
              help="Which bundle; may be given again. All that may run now unless given.")  # fmt: skip
@click.option("--to", "home", type=click.Path(path_type=Path), default=None, metavar="FOLDER",
              help="Where to make the folders; the run's own in the repository unless given.")  # fmt: skip
@click.option("--staged", is_flag=True,
              help="Put the inputs in the folders, for workers that cannot see the repository.")  # fmt: skip
@click.option("--attempt", type=click.IntRange(min=1), default=1, show_default=True, metavar="K",
              help="Which attempt at these bundles it is.")  # fmt: skip
@click.option(
    "--bundling", default=None, metavar="NAME", help="Which of the plan's bundlings; the last one made."
)
@moved
@as_json
def command(
    *,
    plan: Path,
    bundles: tuple[int, ...],
    home: Path | None,
    staged: bool,
    attempt: int,
    bundling: str | None,
    repo: Path | None,
    as_json: bool,
) -> int:
    """Pack bundles of PLAN whose inputs are made into folders, one for each.

    supertask run-bundle runs such a folder, wherever it was carried; supertask collect takes what came of it.
    """
    see_local_modules()
    from executors.jobs.planning import HandPacker
    from graphbuilder.dag.dag import ScienceDag
    from supertask.butler.repository import Butler

    dag = ScienceDag.load(plan)
    with Butler(repo or home_of(dag)) as butler:
        packer = HandPacker(dag, butler, plan, bundling=bundling, staged=staged)
        packed = list(packer.pack(home or packer.home, set(bundles) or None, attempt))
    left = set(bundles) - {bundle for bundle, _ in packed}
    if as_json:
        terminal.objects({"bundle": bundle, "folder": str(job.path)} for bundle, job in packed)
    else:
        for bundle, job in packed:
            terminal.line(f"bundle {bundle}: {job.path}")
        if not packed:
            terminal.note("nothing to pack: every bundle has ended, or waits for another")
    if packed and packer.counted:
        terminal.note(
            f"tokens are not counted where bundles are run by hand: see to it yourself that no more of "
            f"them run at once than there are of {', '.join(map(repr, packer.counted))}"
        )
    for bundle in sorted(left):
        terminal.note(f"bundle {bundle} {'has ended' if packer.is_done(bundle) else 'waits for another'}")
    return 1 if any(not packer.is_done(bundle) for bundle in left) else 0


def pack_one(plan: Path, bundle: int, attempt: int | None) -> Path | str | None:
    """Return the folder of one bundle, packed unless it is; why it cannot run now; or None: it has ended.

    Without a number of an attempt, one that has not ended is gone on with, and one that failed is followed
    by another.
    """
    from executors.jobs.folder import ExitCode
    from executors.jobs.planning import HandPacker
    from executors.jobs.uncollected import attempts_at
    from graphbuilder.dag.dag import ScienceDag
    from supertask.butler.repository import Butler

    dag = ScienceDag.load(plan)
    with Butler(home_of(dag, PUT_BACK)) as butler:
        packer = HandPacker(dag, butler, plan, bundle=bundle)
        if attempt is None:
            before = attempts_at(packer.home, bundle)
            attempt, ending = (before[-1][0], before[-1][1].ending()) if before else (1, None)
            if ending is not None and ending["exit"] == ExitCode.FAILED:
                attempt += 1
            elif not before and packer.is_done(bundle):
                return None
        folder = packer.home / f"b{bundle}-{attempt}"
        if (folder / "bundle.json").exists():
            return folder
        for _, job in packer.pack(packer.home, {bundle}, attempt):
            return job.path
    if packer.is_done(bundle):
        return f"bundle {bundle} has ended: nothing of it is left to run"
    collect = f"supertask collect {shlex.quote(str(plan))}"
    return f"bundle {bundle} waits for others: run these, and `{collect}`, first"

"""``supertask simulate``: what a plan would take somewhere, in virtual time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from executors.cmdline import terminal
from executors.cmdline.options import as_json, together, words
from executors.cmdline.options import command as define
from executors.cmdline.workloads import Asked, Assumption, workload_of

if TYPE_CHECKING:
    from executors.simulation.latencies import Latencies
    from executors.simulation.outcome import Simulated
    from graphbuilder.dag.dag import ScienceDag
    from graphbuilder.dag.values import Bundling

__all__ = ["command"]

_FACTORS = (0.25, 0.5, 2.0, 4.0)
"""Other sizes of bundles that are tried, as parts of the size that there is."""
_WASTE = ("idle", "overhead", "retries", "latency")


def _sizes(_: click.Context, __: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    if value is None:
        return None
    found = []
    for word in words(value) or ():
        if not word.isdigit() or not int(word):
            raise click.BadParameter(f"{word!r} is not a number of quanta: write 10,50,200")
        found.append(int(word))
    return tuple(dict.fromkeys(found))


def _latency(_: click.Context, __: click.Parameter, value: Sequence[str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for word in value:
        name, equals, text = word.partition("=")
        try:
            found[name.strip()] = float(text)
        except ValueError:
            equals = ""
        if not equals:
            raise click.BadParameter(f"{word!r}: write NAME=SECONDS, such as delay=30")
    return found


_OPTIONS: Sequence[Callable[[Any], Any]] = (
    click.argument("plan", type=click.Path(path_type=Path)),
    click.option("--framework", default="pool", show_default=True, metavar="NAME",
                 help="Where it would run: in-process, pool, slurm, or another that was measured."),
    click.option("--slots", type=click.IntRange(min=1), default=None, metavar="N",
                 help="So many jobs run at once; this machine's cores unless given."),
    click.option("--bundling", default=None, metavar="NAME", help="Which of the plan's; the last one made."),
    click.option("--no-bundles", is_flag=True, help="As if the plan had no bundles."),
    click.option("--bundle-sizes", default=None, callback=_sizes, metavar="N,N,…",
                 help="Other sizes of bundles to try; unless given, smaller and larger ones than there are."),
    click.option("--no-compare", is_flag=True, help="Try no other sizes."),
    click.option("--time", "times", multiple=True, metavar="LABEL=MODEL",
                 help="Seconds that quanta take: a number, bytes:NUMBER, inputs:NUMBER, or a function."),
    click.option("--overhead", "overheads", multiple=True, metavar="[LABEL=]SECONDS",
                 help="What it takes to make what quanta share."),
    click.option("--measured", multiple=True, metavar="RUN",
                 help="Run to take times from; the newest of the plan's repository unless given."),
    click.option("--mean", is_flag=True, help="Give every quantum the mean of what was measured."),
    click.option("--failing", multiple=True, metavar="[LABEL=]SHARE",
                 help="Share of attempts that fail; as measured unless given."),
    click.option("--dying", type=click.FloatRange(min=0, max=1), default=0.0, metavar="SHARE",
                 help="Share of jobs that are killed on their way; none unless given."),
    click.option("--latencies", type=click.Path(path_type=Path), default=None, metavar="FILE",
                 help="What frameworks add, measured elsewhere; JSON."),
    click.option("--latency", multiple=True, callback=_latency, metavar="NAME=SECONDS",
                 help="Change one: startup, per_job, delay, between, per_quantum, notice, per_end, ending."),
    click.option("--ahead", type=click.IntRange(min=1), default=None, metavar="N",
                 help="So many jobs are submitted at most at once; 1000, or twice the slots, unless given."),
    click.option("--seed", type=int, default=0, show_default=True, help="Of what is drawn."),
    as_json,
)  # fmt: skip


@define("simulate", short_help="Say what a plan would take somewhere, without running it.")
@together(*_OPTIONS)
def command(
    *,
    plan: Path,
    framework: str,
    slots: int | None,
    bundling: str | None,
    no_bundles: bool,
    bundle_sizes: tuple[int, ...] | None,
    no_compare: bool,
    times: tuple[str, ...],
    overheads: tuple[str, ...],
    measured: tuple[str, ...],
    mean: bool,
    failing: tuple[str, ...],
    dying: float,
    latencies: Path | None,
    latency: dict[str, float],
    ahead: int | None,
    seed: int,
    as_json: bool,
) -> None:
    """Replay the plan in the file PLAN in virtual time, through the scheduling of real runs.

    What quanta need is what was measured in earlier runs, or what --time says; what the framework adds was
    measured. Equal seeds give equal results.
    """
    if seed < 0:
        raise click.UsageError(f"--seed is a number of 0 or more, not {seed}")
    from executors.simulation.latencies import LATENCIES, latencies_of
    from executors.simulation.simulate import simulate
    from executors.simulation.workload import critical_path
    from graphbuilder.dag.dag import ScienceDag

    known = latencies_of(framework, latencies or LATENCIES).replace(latency)
    at_once = slots or (1 if known.slots == 1 else _cores())
    dag = ScienceDag.load(plan)
    asked = Asked(
        times=times, overheads=overheads, failing=failing, dying=dying, runs=measured, mean=mean, seed=seed
    )
    workload, assumed = workload_of(dag, asked)
    bundles = None if no_bundles else dag.bundling(bundling)
    path = critical_path(dag.successors(), workload.seconds)

    def run(which: Bundling | None) -> Simulated:
        return simulate(
            dag, workload, known, slots=at_once, bundling=which, ahead=ahead, seed=seed, path=path
        )

    with terminal.spinner("simulating"):
        found = run(bundles)
        others = [] if no_compare else list(_others(dag, bundles, bundle_sizes, known, run))
    size = None if bundles is None else _size(bundles)
    if as_json:
        terminal.objects([_row(plan, known, found, others, assumed, size, seed)])
    else:
        _show(dag, known, found, others, assumed, size, seed)


def _cores() -> int:
    import os

    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _size(bundles: Bundling) -> float:
    return float(bundles.indptr[-1]) / max(1, len(bundles))


def _others(
    dag: ScienceDag,
    bundles: Bundling | None,
    sizes: tuple[int, ...] | None,
    known: Latencies,
    run: Callable[[Bundling | None], Simulated],
) -> Iterator[tuple[int, Simulated]]:
    """Give what other sizes of bundles would take: one run for each."""
    from graphbuilder.batcher import QuantumBatcher

    if sizes is None:
        now = known.chunk if bundles is None else _size(bundles)
        wanted = [max(1, round(now * factor)) for factor in _FACTORS]
        sizes = tuple(dict.fromkeys(n for n in wanted if n != round(now) and n <= dag.n_quanta))
    for size in sizes:
        yield size, run(QuantumBatcher(max_quanta=size).bundles(dag))


def _row(
    plan: Path,
    known: Latencies,
    found: Simulated,
    others: Sequence[tuple[int, Simulated]],
    assumed: Sequence[Assumption],
    size: float | None,
    seed: int,
) -> dict[str, Any]:
    from attrs import asdict

    return {
        "plan": str(plan),
        "framework": known.framework,
        "latencies": asdict(known),
        "seed": seed,
        "bundle_size": size,
        **found.to_dict(),
        "costs": [asdict(each) for each in assumed],
        "other_sizes": [{"bundle_size": n, **other.to_dict()} for n, other in others],
    }


def _show(
    dag: ScienceDag,
    known: Latencies,
    found: Simulated,
    others: Sequence[tuple[int, Simulated]],
    assumed: Sequence[Assumption],
    size: float | None,
    seed: int,
) -> None:
    if unknown := [each.label for each in assumed if each.assumed]:
        terminal.note(
            f"nothing was measured of {', '.join(unknown)}: assumed 1 s for each quantum; say --time "
            f"{unknown[0]}=SECONDS, or run some of it first"
        )
    terminal.table(
        ["task", "quanta", "mean s", "overhead s", "failing", "costs"],
        [
            [a.label, dag.task(a.label).count, round(a.seconds, 4), a.overhead, f"{a.failing:.1%}", a.source]
            for a in assumed
        ],
    )
    terminal.line()
    bundles = "no bundles" if size is None else f"bundles of {size:.3g} on average"
    capacity = found.capacity or 1.0
    where = f"{known.framework}, {terminal.counted(found.slots, 'slot')}, {bundles}, seed {seed}"
    terminal.pairs(
        {
            "framework": where,
            "latencies": known.source,
            "makespan": f"{_time(found.makespan)} (not less than {_time(found.bound)} with so many slots)",
            "critical path": f"{_time(found.critical_path)}, the longest chain of quanta",
            "utilisation": f"{found.utilisation:.1%} of {_time(capacity)} of slots is work",
            "waste": ", ".join(f"{getattr(found, what) / capacity:.1%} {what}" for what in _WASTE),
            "driver": f"busy for {found.driver / (found.makespan or 1.0):.1%} of the time",
            "jobs": f"{found.jobs:,} for {found.attempts:,} attempts",
            "quanta": ", ".join(f"{n:,} {status}" for status, n in found.counts.items()),
            "stopped": found.stopped,
        }
    )
    if others:
        rows = [(None if size is None else round(size), found), *others]
        best = min(each.makespan for _, each in rows)
        terminal.line()
        terminal.table(
            ["bundle size", "jobs", "makespan", "utilisation", *_WASTE, "driver busy"],
            [_cells(n, each, best=best) for n, each in sorted(rows, key=_by_size)],
        )


def _by_size(row: tuple[int | None, Simulated]) -> int:
    return row[0] or 0


def _cells(size: int | None, each: Simulated, *, best: float) -> list[Any]:
    shares = [getattr(each, what) / (each.capacity or 1.0) for what in _WASTE]
    mark = " *" if each.makespan == best else ""
    return [
        "none" if size is None else f"{size:,}{mark}",
        each.jobs,
        _time(each.makespan),
        f"{each.utilisation:.1%}",
        *(f"{share:.1%}" for share in shares),
        f"{each.driver / (each.makespan or 1.0):.1%}",
    ]


def _time(seconds: float) -> str:
    for unit, scale in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds:.3g} s"

"""What a plan's quanta would need, for simulations: said, measured in earlier runs, or assumed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import attrs
import click
import numpy as np

from executors.cmdline.costwords import parse_costs
from supertask.errors import did_you_mean

if TYPE_CHECKING:
    import numpy.typing as npt

    from executors.simulation.workload import Workload
    from graphbuilder.dag.dag import ScienceDag
    from graphbuilder.sizing import Measured

__all__ = ["Asked", "Assumption", "workload_of"]

_ASSUMED = 1.0


@attrs.frozen(kw_only=True)
class Asked:
    """What the command line says of costs and failures."""

    times: tuple[str, ...] = ()
    overheads: tuple[str, ...] = ()
    failing: tuple[str, ...] = ()
    dying: float = 0.0
    runs: tuple[str, ...] = ()
    mean: bool = False
    seed: int = 0


@attrs.frozen
class Assumption:
    """Where the costs of a task come from."""

    label: str
    source: str
    """In words."""
    seconds: float
    """Mean of a quantum."""
    overhead: float
    failing: float
    assumed: bool
    """Whether nothing is known of it."""


def workload_of(dag: ScienceDag, asked: Asked) -> tuple[Workload, list[Assumption]]:
    """Return what the quanta of a plan need, and where that comes from.

    Raises
    ------
    click.UsageError
        An option cannot be understood, or is of a task that the plan has not.
    ExecutionError
        A run that is named has no journal.
    """
    from executors.simulation.workload import Workload
    from graphbuilder.batching.keys import overhead_keys
    from graphbuilder.batching.weights import costs

    labels = [node.label for node in dag.tasks]
    models = parse_costs("time", asked.times)
    overheads = _numbers("overhead", asked.overheads, labels)
    failing = _numbers("failing", asked.failing, labels, most=1.0)
    _check_labels("time", models, labels)
    unsaid = [label for label in labels if label not in models]
    measured, rates = _measured(dag, unsaid, asked.runs)
    seconds = costs(dag, models)
    shared = np.zeros(dag.n_quanta)
    share = np.zeros(dag.n_quanta)
    # Numbers of overheads are counted within each task; here they must differ between tasks too.
    keys = overhead_keys(dag)
    first_key = 0
    random = np.random.default_rng(asked.seed)
    found = []
    for node in dag.tasks:
        label, part = node.label, slice(node.first, node.first + node.count)
        known = measured.get(label)
        source = f"as --time says: {models[label]}" if label in models else ""
        if known is not None:
            seconds[part] = _drawn(known, node.count, random, mean=asked.mean)
            source = f"measured on {len(known.seconds):,} quanta of {known.source}"
        elif label not in models:
            seconds[part] = _ASSUMED
            source = f"nothing was measured: assumed {_ASSUMED:g} s for each quantum"
        shared[part] = overheads.get(label, overheads.get("*", known.overhead if known is not None else 0.0))
        share[part] = failing.get(label, failing.get("*", rates.get(label, 0.0)))
        keys[part] += first_key
        first_key += int(keys[part].max(initial=first_key) - first_key) + 1
        if node.count:
            mean, one = float(seconds[part].mean()), node.first
            assumed = known is None and label not in models
            found.append(Assumption(label, source, mean, float(shared[one]), float(share[one]), assumed))
    work = Workload(
        seconds=seconds,
        overhead=shared if shared.any() else None,
        keys=keys,
        failing=share if share.any() else None,
        dying=asked.dying,
    )
    return work, found


def _measured(
    dag: ScienceDag, labels: list[str], runs: Iterable[str]
) -> tuple[Mapping[str, Measured], Mapping[str, float]]:
    """Return what was measured of tasks, and how often their attempts failed, where there is a repository."""
    from executors.cmdline.measured import failing_in, measured_by
    from supertask.butler.repository import Butler
    from supertask.errors import RepositoryError

    if not labels:
        return {}, {}
    try:
        with Butler(dag.meta.butler_root, writeable=False) as butler:
            found = measured_by(butler, labels, runs)
    except RepositoryError:
        if runs:
            raise
        return {}, {}  # a plan may be simulated where its repository is not
    rates: dict[str, float] = {}
    for run in {each.source for each in found.values()}:
        of_run = failing_in(dag.meta.butler_root, run)
        rates |= {label: of_run.get(label, 0.0) for label, each in found.items() if each.source == run}
    return found, rates


def _drawn(known: Measured, count: int, random: np.random.Generator, *, mean: bool) -> npt.NDArray[Any]:
    if mean:
        return np.full(count, float(known.seconds.mean()))
    return random.choice(known.seconds, count)


def _check_labels(option: str, words: Iterable[str], labels: list[str]) -> None:
    for label in words:
        if label not in labels:
            near = did_you_mean(label, labels)
            raise click.UsageError(f"--{option}: the plan has no task {label!r}{near}")


def _numbers(
    option: str, words: Iterable[str], labels: list[str], most: float = float("inf")
) -> dict[str, float]:
    """Return the numbers of ``LABEL=NUMBER`` words; a number alone is for all tasks, under ``*``."""
    found: dict[str, float] = {}
    for word in words:
        label, equals, text = word.rpartition("=")
        label = label.strip() if equals else "*"
        try:
            value = float(text.removesuffix("%")) / (100.0 if text.endswith("%") else 1.0)
        except ValueError:
            value = -1.0
        if not 0 <= value <= most or value == float("inf"):
            limits = "0 or more" if most == float("inf") else f"0 to {most:g}"
            raise click.UsageError(f"--{option} {word!r}: {text!r} is not a number of {limits}")
        if label in found:
            raise click.UsageError(f"--{option} {word!r}: {label!r} is given twice")
        found[label] = value
    _check_labels(option, (label for label in found if label != "*"), labels)
    return found

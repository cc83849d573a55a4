"""What quanta needed, from the journals of runs: what bundles are sized by."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from executors.cmdline import terminal
from executors.journal.replay import Replay, replay
from executors.journal.runfolder import RunFolder
from executors.outcome import Attempt, QuantumStatus
from supertask.errors import ExecutionError, did_you_mean

if TYPE_CHECKING:
    import numpy.typing as npt

    from graphbuilder.dag.dag import ScienceDag
    from graphbuilder.sizing import Measured
    from supertask.butler.port import AbstractButler

__all__ = ["failing_in", "finished_of", "measured_by", "measured_of"]

_RUNS = 5
_MOST = 20_000
"""So many attempts of a task tell enough of all."""
_NANO = 1e-9


def measured_of(attempts: Iterable[Attempt], source: str) -> dict[str, Measured]:
    """Return what the attempts of one run tell of each task.

    Overhead is what making it took, summed over methods; each made several times counts with its mean. What
    of it lies in the time of the quantum that happened to make it is taken out of that.
    """
    from graphbuilder.sizing import Measured

    seconds: dict[str, list[float]] = {}
    memory: dict[str, list[float]] = {}
    made: dict[str, dict[str, dict[tuple[str, int, int], float]]] = {}
    for attempt in attempts:
        label = attempt.label
        for making in attempt.makings:
            one = made.setdefault(label, {}).setdefault(making.name, {})
            key = (attempt.host, attempt.pid, making.serial)
            one[key] = one.get(key, 0.0) + making.wall * _NANO
        if attempt.status is not QuantumStatus.SUCCEEDED:
            continue
        own = attempt.wall - sum(m.wall * _NANO for m in attempt.makings if m.inside)
        seconds.setdefault(label, []).append(max(own, 0.0))
        memory.setdefault(label, []).append(attempt.peak_memory)
    return {
        label: Measured(
            label,
            times,
            memory[label],
            sum(float(np.mean(list(one.values()))) for one in made.get(label, {}).values()),
            source,
        )
        for label, times in seconds.items()
    }


def measured_by(
    butler: AbstractButler, labels: Iterable[str], runs: Iterable[str] = ()
) -> dict[str, Measured]:
    """Return what tasks needed in runs of a repository: of each the newest run that measured it.

    Parameters
    ----------
    butler : AbstractButler
        The repository.
    labels : iterable of str
        Which tasks.
    runs : iterable of str, optional
        Runs to look in, the newest that have a journal unless given.

    Raises
    ------
    ExecutionError
        A run that is named has no journal.
    """
    root = getattr(butler, "root", "")
    wanted = set(labels)
    named = list(runs)
    known = [info.name for info in reversed(butler.collection_infos())]
    found: dict[str, Measured] = {}
    read = 0
    for run in named or known:
        folder = RunFolder(root, run)
        if not folder.journal.is_dir():
            if named:
                there = [name for name in known if RunFolder(root, name).journal.is_dir()]
                raise ExecutionError(
                    f"run {run!r} has no journal in {folder.journal}: nothing was measured in it"
                    f"{did_you_mean(run, there)}; there are {', '.join(there) or 'none'}"
                )
            continue
        if read == _RUNS and not named:
            break
        read += 1
        try:
            said = replay(folder)
        except ExecutionError as error:
            terminal.note(f"nothing measured of run {run!r}: {error}")
            continue
        for label, each in measured_of(said.attempts(_some(said)), run).items():
            if label in wanted:
                found.setdefault(label, each)
    return found


def _some(said: Replay) -> list[int]:
    """Return quanta that succeeded, of each task no more than are needed."""
    done = np.flatnonzero(said.statuses == QuantumStatus.SUCCEEDED.code)
    if not said.headers or len(done) <= _MOST:
        return [int(q) for q in done]
    chosen: list[int] = []
    for _, first, count in said.headers[-1].tasks:
        own = done[(done >= first) & (done < first + count)]
        chosen += own[np.linspace(0, len(own) - 1, min(len(own), _MOST)).astype(np.int64)].tolist()
    return chosen


def failing_in(root: str | Path, run: str) -> dict[str, float]:
    """Return of each task of a run which share of its attempts did not end well.

    Raises
    ------
    ExecutionError
        Its journal cannot be read.
    """
    said = replay(RunFolder(str(root), run))
    if not said.headers:
        return {}
    well = np.isin(said.statuses, [s.code for s in QuantumStatus if s.finished])
    rates = {}
    for label, first, count in said.headers[-1].tasks:
        # The number of the last attempt is how many there were; it may be known only by its end.
        own = well[first : first + count]
        attempts = int(np.maximum(said.numbers[first : first + count], own).sum())
        if attempts:
            rates[label] = 1.0 - int(own.sum()) / attempts
    return rates


def finished_of(dag: ScienceDag, root: str | Path) -> npt.NDArray[np.bool_]:
    """Return which quanta of a plan need not run again, by the journal of its run; shape (quanta,).

    Raises
    ------
    ExecutionError
        The journal is of another plan.
    """
    folder = RunFolder(str(root), dag.meta.output_run)
    said = replay(folder) if folder.journal.is_dir() else Replay()
    if not said.headers:
        return np.zeros(dag.n_quanta, bool)
    if len(said.statuses) != dag.n_quanta:
        raise ExecutionError(
            f"run {dag.meta.output_run!r} was made by a plan of {len(said.statuses):,} quanta, and this one "
            f"has {dag.n_quanta:,}: plan again without what is there (preflight --reuse), or batch that plan"
        )
    codes = [s.code for s in QuantumStatus if s.finished]
    found: npt.NDArray[np.bool_] = np.isin(said.statuses, codes)
    return found

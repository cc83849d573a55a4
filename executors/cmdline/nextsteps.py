"""What to do about a run that did not come to its end: commands to copy."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path

from executors.journal.report import Report
from executors.outcome import QuantumStatus
from supertask.configs.policy import FailureClass

__all__ = ["next_steps", "run_again", "run_command"]

_NOT_AGAIN = {"--resume", "--no-resume", "--retry-failed", "--no-retry-failed"}
"""Words that are about going on itself."""

_OPTIONS = {
    FailureClass.TRANSIENT: ("--retries {}:transient=5", "was disturbed from outside: try more often"),
    FailureClass.OUT_OF_MEMORY: ("--memory {}=SIZE", "ran out of memory: let it have more"),
    FailureClass.TIMEOUT: ("--timeout {}=TIME", "took too long: let it take longer"),
    FailureClass.KILLED: ("--retries {}:killed=1", "lost its process: try again by itself"),
}


def run_command(plan: str | Path) -> str:
    """Return the command that runs a plan."""
    return f"supertask run {shlex.quote(str(plan))}"


def run_again(words: Iterable[str]) -> str:
    """Return the command that goes on with what a command line began, in the same way."""
    return shlex.join(["supertask", *(word for word in words if word not in _NOT_AGAIN)])


def next_steps(report: Report, command: str = "") -> Iterator[str]:
    """Give lines that say what to do next.

    Parameters
    ----------
    report : Report
        What came of a run.
    command : str, optional
        The command that goes on with it; taken from the report if it knows where the plan is.
    """
    counts = report.counts
    failed = counts.get(QuantumStatus.FAILED, 0)
    left = report.n_quanta - sum(n for s, n in counts.items() if s.finished)
    if report.active or not (left or report.unregistered):
        return
    if not command and report.plan_file and Path(report.plan_file).is_file():
        command = run_command(report.plan_file)
    shown = command or "the same command again"
    if failed:
        yield f"to try again what failed: {shown}"
        if left > failed + counts.get(QuantumStatus.BLOCKED, 0):
            yield f"to do the rest and leave what failed: {shown} --no-retry-failed"
    else:
        yield f"to go on: {shown}"
    told: set[tuple[str, str]] = set()
    for group in report.failures:
        option, why = _OPTIONS.get(FailureClass(group.kind), ("", ""))
        if why and (group.label, option) not in told:
            told.add((group.label, option))
            yield f"{group.label} {why}: {option.format(group.label)}"
    blocked = [task.label for task in report.tasks if task.counts.get(QuantumStatus.BLOCKED)]
    if blocked:
        yield f"to run what is blocked with the inputs that there are: --quorum {blocked[0]}=80%"

"""How a report is shown: counts for each task, what runs, what failed and why."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from executors.cmdline import terminal
from executors.cmdline.nextsteps import next_steps
from executors.journal.report import FailureGroup, Report, label_of
from executors.outcome import QuantumStatus
from supertask.configs.policy import FailureClass

__all__ = ["RUNNING_SHOWN", "show_report", "show_status"]

_ALWAYS = (QuantumStatus.SUCCEEDED, QuantumStatus.FAILED)
_IDS_SHOWN = 3
RUNNING_SHOWN = 20


def show_status(report: Report, command: str = "", running: Mapping[int, str] | None = None) -> None:
    """Write how a run stands: counts, what runs now, problems.

    Parameters
    ----------
    report : Report
        What is known of it.
    command : str, optional
        Would go on with it.
    running : mapping, optional
        Quantum → its data ID, of those that run, as far as it is known.
    """
    running = running or {}
    present = _present(report)
    rows: list[list[Any]] = [
        [task.label, task.planned, *(task.counts.get(s, 0) for s in present)] for task in report.tasks
    ]
    if len(rows) > 1:
        rows.append(["all", report.n_quanta, *(report.counts.get(s, 0) for s in present)])
    terminal.table(["task", "quanta", *(s.value for s in present)], rows, title=f"run {report.run}")
    if report.running:
        now = time.time()
        terminal.table(
            ["quantum", "task", *(["data ID"] if running else []), "attempt", "for s", "host", "process"]
            + (["says"] if report.progress else []),
            [
                [b.index, label_of(b.header, b.index), *([running.get(b.index, "")] if running else [])]
                + [b.number, round(now - b.time / 1e9), b.header.host, str(b.header.pid)]
                + ([_said(report, b.index)] if report.progress else [])
                for b in sorted(report.running, key=lambda b: b.time)[:RUNNING_SHOWN]
            ],
            title="running",
        )
        if len(report.running) > RUNNING_SHOWN:
            terminal.line(f"and {len(report.running) - RUNNING_SHOWN:,} more that began later")
    _show_failures(report, tracebacks=False)
    _show_problems(report)
    terminal.line(_verdict(report))
    _show_next(report, command)


def _said(report: Report, quantum: int) -> str:
    fraction, message = report.progress.get(quantum, (None, ""))
    return "" if fraction is None else f"{fraction:.0%} {message}".rstrip()


def show_report(report: Report, command: str = "", *, tracebacks: bool = True) -> None:
    """Write what came of a run: counts, what each task used, and each kind of failure.

    Parameters
    ----------
    report : Report
        What came of it.
    command : str, optional
        Would go on with it.
    tracebacks : bool, optional
        Whether to show them.
    """
    present = _present(report)
    if report.tags:
        terminal.line("tags: " + ", ".join(f"{name}={value}" for name, value in sorted(report.tags.items())))
    terminal.table(
        ["task", "quanta", *(s.value for s in present), "CPU s", "wall s", "memory", "read", "written"],
        [
            [
                t.label, t.planned, *(t.counts.get(s, 0) for s in present),
                round(t.cpu, 2), round(t.wall, 2),
                *(terminal.size(n) if n else None for n in (t.peak_memory, t.bytes_read, t.bytes_written)),
            ]
            for t in report.tasks
        ],
        title=f"run {report.run}",
    )  # fmt: skip
    _show_failures(report, tracebacks=tracebacks)
    _show_problems(report)
    terminal.line(_verdict(report))
    _show_next(report, command)


def _show_next(report: Report, command: str) -> None:
    for step in next_steps(report, command):
        terminal.line(f"  {step}")


def _present(report: Report) -> list[QuantumStatus]:
    """Return the statuses that some quanta have, and two that are always shown."""
    return [s for s in QuantumStatus if s in _ALWAYS or s in report.counts]


def _show_failures(report: Report, *, tracebacks: bool) -> None:
    for group in report.failures:
        terminal.line(f"{group.label}: {group.count:,} × {group.exception}: {group.message}{_what(group)}")
        shown = list(zip(group.indices, group.dataIds, strict=True))[:_IDS_SHOWN]
        for index, dataId in shown:
            values = ", ".join(f"{k}={v}" for k, v in dataId.items())
            terminal.line(f"  quantum {index} {{{values}}}")
        if group.count > len(shown):
            terminal.line(f"  and {group.count - len(shown):,} more")
        if tracebacks and group.traceback:
            terminal.line(_indented(group.traceback))
    if report.failures:
        terminal.line()


def _what(group: FailureGroup) -> str:
    """Return the class of a failure where the exception does not say it, and how often it was tried."""
    words = [group.kind] if group.kind != FailureClass.ERROR.value else []
    if group.attempts > 1:
        words.append(f"tried {group.attempts} times")
    return f" ({', '.join(words)})" if words else ""


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.rstrip().splitlines())


def _show_problems(report: Report) -> None:
    for each in report.caveats:
        terminal.line(f"caveat: {each.label}: {each.count:,} × {each.caveat}")
    for problem in report.problems:
        terminal.line(f"problem: {problem}")


def _verdict(report: Report) -> str:
    counts = report.counts
    done = sum(n for s, n in counts.items() if s.finished)
    text = f"{done:,} of {terminal.counted(report.n_quanta, 'quantum')} done"
    if report.finished_before:
        text += f", {report.finished_before:,} of them before"
    for status in (QuantumStatus.FAILED, QuantumStatus.BLOCKED, QuantumStatus.CANCELLED):
        if counts.get(status):
            text += f", {counts[status]:,} {status.value}"
    if report.unregistered:
        text += f"; outputs of {report.unregistered:,} are not registered yet: the next run does it"
    if report.wall:
        text += f"; {report.wall:.1f} s, {report.cpu:.1f} s of CPU"
    if report.stopped:
        text += f"; stopped: {report.stopped}"
    if report.active:
        text += "; a driver is at work"
    elif report.interrupted:
        text += "; interrupted"
    return text

"""What `supertask provenance` shows to a person."""

from __future__ import annotations

from collections.abc import Iterator

from executors.cmdline import terminal
from executors.lineage.values import DatasetNode, FileState, Provenance, QuantumNode, Use, iso

__all__ = ["show_lineage"]

_SHOWN = 12
"""Inputs of one type that are listed each by itself."""
_LEFT_OUT = {"policy"}
"""What is done about failures changes nothing that comes out."""
_PACKAGES = ("supertask", "numpy", "astropy")


def show_lineage(found: Provenance, *, logs: bool = False) -> None:
    """Write it, what was asked for first."""
    if found.root:
        _dataset(found.datasets[found.root])
    for quantum in found.quanta.values():
        terminal.line()
        _quantum(found, quantum, logs=logs)
    if found.root and not found.quanta:
        terminal.line("no quantum made it: it was ingested, or put by hand")
    for run in found.runs.values():
        if not run.sessions and not run.command:
            continue
        terminal.line()
        terminal.line(f"run {run.name}")
        versions = {name: v for name, v in run.versions.items() if name in _PACKAGES}
        hosts = dict.fromkeys(str(s.get("host", "")) for s in run.sessions)
        _pairs({
            "planned by": f"{run.user}: {run.command}" if run.command else "",
            "planned at": run.created,
            "expression": run.where,
            "inputs from": ", ".join(run.collections),
            "sessions": f"{len(run.sessions)}, on {', '.join(hosts)}" if run.sessions else "",
            "software": ", ".join(f"{n} {v}" for n, v in versions.items()),
            "caveats": "; ".join(f"{c.get('task')}: {c.get('caveat')}" for c in run.caveats),
        })  # fmt: skip
    for problem in found.problems:
        terminal.note(f"note: {problem}")


def _dataset(node: DatasetNode) -> None:
    terminal.line(str(node))
    size = f", {terminal.size(node.size)}" if node.size >= 0 else ""
    _pairs({
        "identity": node.identity,
        "run": node.run,
        "file": f"{node.path}{size}",
        "state": _state(node.state),
        "checksum": node.checksum,
    })  # fmt: skip


def _state(state: FileState) -> str:
    if state is FileState.ALTERED:
        return "ALTERED: the file is not what was registered"
    if state is FileState.VERIFIED:
        return "verified: the bytes that were registered"
    if state is FileState.GONE:
        return "gone: there is no such file"
    return ""


def _quantum(found: Provenance, quantum: QuantumNode, *, logs: bool) -> None:
    said = quantum.status.value if quantum.attempts else "no attempt is known"
    terminal.line(f"quantum {quantum}: {said}")
    variant = f", variant {quantum.variant}" if quantum.variant else ""
    _pairs({
        "identity": quantum.identity,
        "run": quantum.run,
        "task": f"{quantum.class_path}, version {quantum.version}{variant}",
        "source": quantum.source,
        "config": _flat({k: v for k, v in quantum.config.items() if k not in _LEFT_OUT}),
        "overrides": "; ".join(quantum.overrides),
        "parameters": _flat(quantum.parameters) if quantum.parameters else "",
        "caveats": "; ".join(quantum.caveats),
        "inputs": "\n".join(_inputs(found, quantum)),
        "outputs": "\n".join(_named(found.datasets[key]) for key in quantum.outputs),
    })  # fmt: skip
    for i, attempt in enumerate(quantum.attempts):
        failed = (
            f": {attempt.failure}" if attempt.failure else f": {attempt.reason}" if attempt.reason else ""
        )
        when = iso(attempt.start)[:19].replace("T", " ")
        terminal.line(
            f"  attempt {attempt.number}  {attempt.status.value}{failed}; {when} UTC on {attempt.host}, "
            f"{attempt.wall:.3g} s ({attempt.cpu:.3g} s CPU), {terminal.size(attempt.peak_memory)}"
        )
        if logs and quantum.logs and quantum.logs[i]:
            for line in quantum.logs[i].rstrip().split("\n"):
                terminal.line(f"    | {line}")


def _inputs(found: Provenance, quantum: QuantumNode) -> Iterator[str]:
    by_type: dict[str, list[str]] = {}
    counts: dict[str, int] = {}
    for use in quantum.inputs:
        node = found.datasets[use.dataset]
        said = _named(node)
        if node.run and node.run != quantum.run:
            said += f"  from {node.run}"
        if use.use is not Use.READ:
            said += f"  ({use.use.value})"
        if node.state in {FileState.GONE, FileState.ALTERED} and use.use is Use.READ:
            said += f"  ({node.state.value})"
        by_type.setdefault(node.name, []).append(said)
        counts[node.name] = counts.get(node.name, 0) + (use.use is Use.READ)
    for name, lines in by_type.items():
        yield from lines[:_SHOWN]
        if len(lines) > _SHOWN:
            yield f"… {len(lines):,} {name} in all, {counts[name]:,} of them read"


def _named(node: DatasetNode) -> str:
    return f"{node}  {node.identity[:12]}"


def _flat(value: object, path: str = "") -> str:
    if isinstance(value, dict) and value:
        return ", ".join(_flat(v, f"{path}.{k}" if path else str(k)) for k, v in value.items())
    return f"{path}={value}"


def _pairs(values: dict[str, str]) -> None:
    width = max(map(len, values))
    for name, value in values.items():
        first, *rest = value.split("\n")
        if first or rest:
            terminal.line(f"  {name.ljust(width)}  {first}")
            for line in rest:
                terminal.line(f"  {' ' * width}  {line}")

"""What is told of datasets, quanta and runs, as plain values."""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from executors.outcome import Attempt, QuantumStatus

__all__ = ["DatasetNode", "FileState", "InputUse", "Provenance", "QuantumNode", "RunNode", "Use", "iso"]


class FileState(enum.Enum):
    """What is to be said of a dataset's file."""

    THERE = "there"
    """As far as was looked: that it exists, with the size that it had when it was registered."""
    VERIFIED = "verified"
    """Its bytes are those that were registered."""
    ALTERED = "altered"
    """Its size, or its bytes, are not those that were registered."""
    GONE = "gone"
    """There is none."""


class Use(enum.Enum):
    """What a quantum did with an input that its plan gave it."""

    READ = "read"
    UNREAD = "not read"
    """It was offered, and the task did not ask for it."""
    FAILED = "failed to be made"
    ABSENT = "was never made"
    """Whoever was to make it found no work, or left it out."""
    PLANNED = "planned"
    """The quantum has not run, as far as the journal tells."""


def iso(time_ns: int) -> str:
    """Return a time (UTC, ns since 1970) in ISO 8601, to the microsecond."""
    if not time_ns:
        return ""
    return dt.datetime.fromtimestamp(time_ns / 1e9, dt.UTC).isoformat(timespec="microseconds")


@attrs.frozen(kw_only=True)
class DatasetNode:
    """A dataset."""

    key: str
    """By which quanta name it."""
    name: str
    """Of its type."""
    dataId: Mapping[str, Any]
    identity: str
    """32 hexadecimal digits."""
    run: str = ""
    """RUN collection that it is in; empty where that cannot be told."""
    location: str = ""
    path: str = ""
    """Absolute."""
    size: int = -1
    """Bytes when it was registered, -1 where that is not known."""
    checksum: str = ""
    """When it was registered."""
    state: FileState = FileState.THERE
    maker: str = ""
    """Key of the quantum that made it; empty where it was ingested, put by hand, or not looked up."""
    storage: str = ""
    """Storage format."""

    def __str__(self) -> str:
        words = " ".join(f"{u}={v}" for u, v in self.dataId.items())
        return f"{self.name} {words}".rstrip()


@attrs.frozen
class InputUse:
    """A dataset among the inputs of a quantum."""

    dataset: str
    """Its key."""
    use: Use


@attrs.frozen(kw_only=True)
class QuantumNode:
    """A quantum, and each attempt to run it."""

    key: str
    run: str
    plan: str
    """File of the plan that has it."""
    index: int
    """In that plan."""
    label: str
    dataId: Mapping[str, Any]
    identity: str
    """32 hexadecimal digits."""
    class_path: str
    version: str
    """Declared by the author of the task."""
    source: str
    """Hash of its source code; empty where that could not be read."""
    variant: int
    """Number of its task's variant that it ran with."""
    config: Mapping[str, Any]
    """Of that variant."""
    overrides: tuple[str, ...] = ()
    """What made that variant."""
    parameters: Any = None
    inputs: tuple[InputUse, ...] = ()
    outputs: tuple[str, ...] = ()
    """Keys of datasets."""
    attempts: tuple[Attempt, ...] = ()
    """First to last."""
    logs: tuple[str, ...] = ()
    """What was logged in each of them; empty unless asked for."""

    @property
    def last(self) -> Attempt | None:
        """What the last attempt came to, if there was one."""
        return self.attempts[-1] if self.attempts else None

    @property
    def status(self) -> QuantumStatus:
        """Where it stands."""
        return self.last.status if self.last is not None else QuantumStatus.PLANNED

    @property
    def caveats(self) -> tuple[str, ...]:
        """What is to be known of its outputs."""
        return self.last.caveats if self.last is not None else ()

    def __str__(self) -> str:
        words = " ".join(f"{u}={v}" for u, v in self.dataId.items())
        return f"{self.label} {words}".rstrip()


@attrs.frozen(kw_only=True)
class RunNode:
    """A run: who made it, with which software, how often it was taken up."""

    name: str
    command: str = ""
    """That planned it."""
    user: str = ""
    created: str = ""
    where: str = ""
    """Data-ID expression."""
    collections: tuple[str, ...] = ()
    """That inputs were looked for in."""
    versions: Mapping[str, str] = attrs.field(factory=dict)
    """Package → version, of what planned it and of the last session that ran it."""
    sessions: tuple[Mapping[str, Any], ...] = ()
    """Machine, user, command, time and Python of each; packages are in `versions`."""
    caveats: tuple[Mapping[str, Any], ...] = ()

    @classmethod
    def from_provenance(cls, name: str, said: Mapping[str, Any]) -> RunNode:
        """Make it of what the repository recorded of a run; of an ingest there may be nothing."""
        plan, sessions = said.get("plan", {}), said.get("sessions", ())
        packages = dict(sessions[-1].get("packages", {})) if sessions else {}
        return cls(
            name=name,
            command=plan.get("command", ""),
            user=plan.get("user", ""),
            created=plan.get("created", ""),
            where=plan.get("where", ""),
            collections=tuple(plan.get("collections", ())),
            versions={**plan.get("versions", {}), **packages},
            sessions=tuple({k: v for k, v in s.items() if k != "packages"} for s in sessions),
            caveats=tuple(said.get("caveats", ())),
        )


@attrs.define
class Provenance:
    """Datasets and quanta around one dataset, or of a run, and the runs that they are of."""

    root: str = ""
    """Key of the dataset that was asked for; empty for a run."""
    datasets: dict[str, DatasetNode] = attrs.field(factory=dict)
    quanta: dict[str, QuantumNode] = attrs.field(factory=dict)
    runs: dict[str, RunNode] = attrs.field(factory=dict)
    problems: list[str] = attrs.field(factory=list)
    """What stood in the way of telling more."""

    def made_by(self, key: str) -> QuantumNode | None:
        """Return the quantum that made a dataset, if it is here."""
        return self.quanta.get(self.datasets[key].maker)

    def read_by(self, key: str) -> Iterator[QuantumNode]:
        """Yield the quanta here that have a dataset among their inputs."""
        return (q for q in self.quanta.values() if any(i.dataset == key for i in q.inputs))

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data, fit for JSON."""
        return {
            "root": self.root,
            "datasets": [_plain(d) for d in self.datasets.values()],
            "quanta": [_quantum(q) for q in self.quanta.values()],
            "runs": [_plain(r) for r in self.runs.values()],
            "problems": list(self.problems),
        }


def _plain(value: Any) -> dict[str, Any]:
    found = attrs.asdict(value, recurse=False)
    return {
        k: v.value if isinstance(v, enum.Enum) else dict(v) if isinstance(v, Mapping) else v
        for k, v in found.items()
    }


def _quantum(quantum: QuantumNode) -> dict[str, Any]:
    plain = _plain(quantum)
    plain["status"] = quantum.status.value
    plain["inputs"] = [{"dataset": i.dataset, "use": i.use.value} for i in quantum.inputs]
    if quantum.parameters is not None and attrs.has(type(quantum.parameters)):
        plain["parameters"] = attrs.asdict(quantum.parameters)
    logs = quantum.logs or ("",) * len(quantum.attempts)
    plain["attempts"] = [_attempt(a, log) for a, log in zip(quantum.attempts, logs, strict=True)]
    del plain["logs"]
    return plain


def _attempt(attempt: Attempt, log: str) -> dict[str, Any]:
    return {
        "number": attempt.number,
        "status": attempt.status.value,
        "host": attempt.host,
        "pid": attempt.pid,
        "start": iso(attempt.start),
        "end": iso(attempt.end),
        "wall": attempt.wall,
        "cpu": attempt.cpu,
        "peak_memory": attempt.peak_memory,
        "bytes_read": attempt.bytes_read,
        "bytes_written": attempt.bytes_written,
        "reason": attempt.reason,
        "failure": str(attempt.failure) if attempt.failure else "",
        "caveats": list(attempt.caveats),
        "metadata": dict(attempt.metadata),
        **({"log": log} if log else {}),
    }

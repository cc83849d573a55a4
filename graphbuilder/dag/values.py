"""The values that a Science DAG is described by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import attrs

from graphbuilder.dag.reused import Replaced, Reused
from supertask.datasets import Dataset
from supertask.quanta import Quantum
from supertask.tasks.overheads import NOTHING_DECLARED, OverheadNames

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["Bundling", "DagMeta", "LeftOut", "Outline", "QuantumRecord", "TaskNode", "Trimmed"]


@attrs.frozen
class AppliedOverride:
    """An override on data that made a variant of a task."""

    when: str
    """The condition that its quanta fulfil."""
    source: str
    """Where it is said: ``file:line:column``, a line of code, or an option."""
    rank: int
    camera: str = ""
    """Whose package ships it; empty for the pipeline's own."""

    def __str__(self) -> str:
        whose = f", of camera {self.camera}" if self.camera else ""
        return f"{self.source} (when {self.when}{whose})"


@attrs.frozen
class Variant:
    """A task as it is for some of its quanta."""

    class_path: str
    config: dict[str, Any]
    """What `Config.to_dict` gave."""
    version: str
    key: bytes
    """16 bytes: identity of class, version and config."""
    overrides: tuple[AppliedOverride, ...] = ()
    """What made it, in the order in which they were said; none for the task's own configuration."""
    changes: dict[str, tuple[str, str, str]] = attrs.field(factory=dict)
    """Path of a field → its value in the task's own configuration, here, and what set that."""

    def plain(self) -> dict[str, Any]:
        """Return it as plain data, fit for JSON."""
        return {
            "class": self.class_path,
            "version": self.version,
            "key": self.key.hex(),
            "config": self.config,
            "overrides": [attrs.asdict(o) for o in self.overrides],
            "changes": {path: list(change) for path, change in self.changes.items()},
        }

    @classmethod
    def from_plain(cls, said: Mapping[str, Any]) -> Variant:
        """Return what `plain` gave."""
        return cls(
            said["class"],
            said["config"],
            said["version"],
            bytes.fromhex(said["key"]),
            tuple(AppliedOverride(**o) for o in said["overrides"]),
            {path: (str(a), str(b), str(source)) for path, (a, b, source) in said["changes"].items()},
        )


@attrs.frozen
class TaskNode:
    """One task of a plan and which quanta are its."""

    label: str
    class_path: str
    """``module:Qualname`` of the SuperTask class."""
    config: dict[str, Any]
    """What `Config.to_dict` gave."""
    version: str
    """Declared by the author of the task."""
    key: bytes
    """16 bytes: identity of class, version and config."""
    quantum_units: tuple[str, ...]
    first: int
    """Index of its first quantum in the plan."""
    count: int
    """How many quanta it has; they follow one another."""
    minimums: dict[str, int] = attrs.field(factory=dict)
    """Input dataset type → how many must exist for a quantum to run."""
    variants: tuple[Variant, ...] = ()
    """What overrides on data make of it; none where all of its quanta have `config`."""
    source: str = ""
    """Hash of its source code, hexadecimal; empty where that could not be read."""
    overhead: OverheadNames = NOTHING_DECLARED
    """What of it affects only what its quanta share."""
    by_source: bool = False
    """Whether that is part of `key`."""

    def variant(self, number: int) -> Variant:
        """Return a variant by its number; 0 is the task itself where it has none."""
        if not self.variants and not number:
            return Variant(self.class_path, self.config, self.version, self.key)
        return self.variants[number]


@attrs.frozen
class Trimmed:
    """What the data-ID expression took from an input that quanta of a task gather."""

    label: str
    dataset_type: str
    conditions: tuple[str, ...]
    """Those of its conditions that the quanta's own units do not decide."""
    quanta: int
    """How many the task has."""
    looked_at: int
    """How many of them were counted; 0 if nothing could be."""
    fewer: int
    """How many of these have fewer inputs than they would have without those conditions."""
    have: int
    """Inputs that these have."""
    would_have: int
    """Inputs that these would have, as far as the repository and its relations tell."""

    def __str__(self) -> str:
        what = f"{self.label}: the condition {' AND '.join(self.conditions)}"
        if not self.looked_at:
            return f"{what} may leave out {self.dataset_type!r} that quanta gather; how many cannot be told"
        part = f" looked at (of {self.quanta:,})" if self.looked_at < self.quanta else ""
        return (
            f"{what} leaves {self.fewer:,} of {self.looked_at:,} quanta{part} with fewer "
            f"{self.dataset_type!r} than there are: {self.have:,} of {self.would_have:,}"
        )


@attrs.frozen
class DagMeta:
    """Where a plan came from: provenance of the whole."""

    output_run: str
    repository: str
    """Identity of the data repository that it was made from, a hexadecimal UUID."""
    butler_root: str
    """Where that repository was when the plan was made."""
    collections: tuple[str, ...] = ()
    """Input collections in search order."""
    where: str = ""
    """The data-ID expression."""
    bind: dict[str, Any] = attrs.field(factory=dict)
    """Values bound in the expression."""
    pipeline: dict[str, Any] = attrs.field(factory=dict)
    """The pipeline as its file would say it."""
    unit_model: dict[str, Any] = attrs.field(factory=dict)
    """The unit model as its file would say it."""
    versions: dict[str, str] = attrs.field(factory=dict)
    """Package → version."""
    command: str = ""
    user: str = ""
    created: str = ""
    """UTC, ISO 8601."""
    steps: tuple[tuple[str, str, int], ...] = ()
    """How the plan came about: (task label or empty, step, how many it left)."""
    trimmed: tuple[Trimmed, ...] = ()
    """What the expression took from inputs that quanta gather."""
    reused: Reused | None = None
    """How much was left out as earlier runs made it; None where that was not asked for."""
    replaces: Replaced | None = None
    """What it replaces in its output run; None where it may not."""

    @property
    def retention(self) -> Mapping[str, str]:
        """Dataset type or pattern → how long such stay, as the pipeline says."""
        said: Mapping[str, str] = self.pipeline.get("retention", {})
        return said


@attrs.frozen(eq=False)
class LeftOut:
    """Quanta that a step of planning left out, and why."""

    label: str
    """Label of their task."""
    why: str
    """What those that stayed have and these have not."""
    columns: dict[str, Any]
    """Leaf unit → codes of the quanta left out, shape (n,), int32."""

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))


@attrs.frozen(eq=False)
class Bundling:
    """Quanta merged in bundles that run together, bundles in an order that respects dependencies."""

    name: str
    indptr: npt.NDArray[np.int64]
    """Shape (bundles + 1,): where each begins in `indices`."""
    indices: npt.NDArray[np.int32]
    """Shape (quanta,): quantum indices, each exactly once."""
    about: Mapping[str, Any] = attrs.field(factory=dict)
    """How it was made: JSON values; what its tasks need, see `graphbuilder.dag.requests`."""

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def __getitem__(self, bundle: int) -> npt.NDArray[np.int32]:
        if not 0 <= bundle < len(self):
            raise IndexError(f"bundle {bundle} of {len(self)}")
        return self.indices[self.indptr[bundle] : self.indptr[bundle + 1]]


class Outline(NamedTuple):
    """What can be said of a quantum without making it: a fraction of a `QuantumRecord`."""

    quantum: int
    """Its index in the plan."""
    label: str
    variant: int
    identity: bytes
    """16 bytes."""
    outputs: int
    """How many datasets it means to write."""


@attrs.frozen
class QuantumRecord:
    """All that a runner needs to run one quantum."""

    index: int
    label: str
    identity: bytes
    """16 bytes."""
    quantum: Quantum
    locations: Mapping[Dataset, str]
    """Where the inputs are stored that were there before the plan."""
    identities: Mapping[Dataset, bytes]
    """Identity of every input and output, 16 bytes each."""
    minimums: Mapping[type[Dataset], int]
    """How many inputs of a type must exist for the quantum to run."""
    variant: int = 0
    """Number of its task's variant that it runs with."""

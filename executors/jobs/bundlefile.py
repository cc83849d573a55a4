"""The plan of one bundle, read from a small file or a part of one: what runner and performer ask of a plan.

A job that is carried to another machine, or packed by hand, has a JSON file of its own; others have a part of
a sheaf (`executors.jobs.sheaf`).
Quanta keep the numbers and identities that they have in the plan, so what is written about them can be
merged in the run's journal as it stands.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from executors.decisions.work import Work
from executors.jobs.folder import JobFolder, write_whole
from executors.jobs.sheaf import PackedRecords, part_of
from graphbuilder.dag.values import Outline, QuantumRecord, TaskNode, Variant
from supertask.classpath import load_class
from supertask.dataids import DataId
from supertask.datasets import Dataset
from supertask.errors import ExecutionError
from supertask.quanta import Quantum
from supertask.tasks.overheads import OverheadNames
from supertask.unitmodels import unit_model_from_dict
from supertask.units import UnitModel

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["FORMAT", "BundlePlan", "read_bundle", "read_job", "write_bundle"]

FORMAT = 2
_READ = (1, FORMAT)
"""Bundles of version 1 say nothing of what surrounds calls; capsules may hold such."""


@attrs.frozen
class _Meta:
    output_run: str


class _Quanta:
    """Quanta by their numbers in the plan."""

    def __init__(self, plan: BundlePlan) -> None:
        self._plan = plan

    def __getitem__(self, index: int) -> Quantum:
        return self._plan.record(index).quantum


class _Listed:
    """Quanta that are said one by one."""

    def __init__(self, said: Mapping[int, Mapping[str, Any]], types: Mapping[str, type[Dataset]]) -> None:
        self._said = said
        self._types = types

    def identity(self, index: int) -> bytes:
        return bytes.fromhex(self._said[index]["identity"])

    def outline(self, index: int) -> Outline:
        said = self._said[index]
        outputs = sum(len(listed) for _, listed in said["sides"][1])
        return Outline(index, said["label"], said["variant"], self.identity(index), outputs)

    def record(self, index: int, parameters: Callable[[Any], Any]) -> QuantumRecord:
        said = self._said[index]
        locations: dict[Dataset, str] = {}
        identities: dict[Dataset, bytes] = {}
        sides = [
            {
                self._types[name]: set(self._datasets(name, listed, locations, identities))
                for name, listed in s
            }
            for s in said["sides"]
        ]
        quantum = Quantum(
            sides[0],
            sides[1],
            said["label"],
            parameters(said["parameters"]),
            None if said["dataId"] is None else DataId(said["dataId"]),
        )
        return QuantumRecord(
            said["index"],
            said["label"],
            bytes.fromhex(said["identity"]),
            quantum,
            locations,
            identities,
            {self._types[name]: n for name, n in said["minimums"].items()},
            said["variant"],
        )

    def _datasets(
        self,
        name: str,
        listed: Iterable[Sequence[Any]],
        locations: dict[Dataset, str],
        identities: dict[Dataset, bytes],
    ) -> Iterator[Dataset]:
        for values, identity, location in listed:
            dataset = self._types[name](values)
            identities[dataset] = bytes.fromhex(identity)
            if location:
                locations[dataset] = location
            yield dataset


class BundlePlan:
    """One bundle's part of a plan.

    Parameters
    ----------
    said : Mapping
        What `executors.jobs.packing` wrote.
    columns : bytes, optional
        Columns of its quanta, if it is of a sheaf; else these are in `said` one by one.
    """

    def __init__(self, said: Mapping[str, Any], columns: bytes | None = None) -> None:
        self.said = said
        self.meta = _Meta(said["run"])
        self.model: UnitModel = unit_model_from_dict(said["model"])
        self.types: dict[str, type[Dataset]] = {
            name: Dataset.subclass(name, tuple(units), storage) for name, units, storage in said["types"]
        }
        self.tasks = tuple(map(_node, said["tasks"]))
        self.work = Work(tuple(said["quanta"]), said["bundle"], *map(_told, said["told"]))
        self.quanta = _Quanta(self)
        self._packed: _Listed | PackedRecords
        if columns is None:
            self._packed = _Listed({record["index"]: record for record in said["records"]}, self.types)
        else:
            self._packed = PackedRecords(said, columns, self.types)
        self._records: dict[int, QuantumRecord] = {}

    @cached_property
    def numbers(self) -> dict[int, int]:
        """Quantum → number of its attempt, where that is not 1."""
        return {int(q): n for q, n in self.said["numbers"].items()}

    @cached_property
    def missing(self) -> dict[int, frozenset[bytes]]:
        """Quantum outside that left out some outputs → identities of these."""
        return {int(q): frozenset(map(bytes.fromhex, left)) for q, left in self.said["missing"].items()}

    @cached_property
    def memory(self) -> dict[int, int]:
        """Quantum → bytes that it was granted since it ran out of what it had."""
        return {int(q): m for q, m in self.said["memory"].items()}

    @cached_property
    def around(self) -> Mapping[str, Any] | None:
        """What surrounds each call, where anything does: tags, environment, and the folder to be kept."""
        found: Mapping[str, Any] | None = self.said.get("around")
        return found

    def record(self, index: int) -> QuantumRecord:
        """Return all that a runner needs to run a quantum."""
        found = self._records.get(index)
        if found is None:
            found = self._records[index] = self._packed.record(index, _parameters)
        return found

    def identity(self, index: int) -> bytes:
        """Return the identity of a quantum, 16 bytes."""
        return self._packed.identity(index)

    def records(self, indices: Sequence[int]) -> list[QuantumRecord]:
        """Return `record` of several."""
        return [self.record(i) for i in indices]

    def outlines(self, indices: Sequence[int]) -> list[Outline]:
        """Return what can be said of several quanta without making them."""
        return [self._packed.outline(i) for i in indices]

    def readings(self, dataset_type: type[Dataset], quantum: int) -> int:
        """Return how often the whole plan reads what a quantum makes of a type that may be elided."""
        return int(self.said["readings"].get(dataset_type.name, {}).get(str(quantum), 0))

    def successors(self) -> tuple[Mapping[int, int], npt.NDArray[np.int32]]:
        """Return who waits for whom inside the bundle, looked up as in `ScienceDag.successors`."""
        return self._successors

    @cached_property
    def _successors(self) -> tuple[Mapping[int, int], npt.NDArray[np.int32]]:
        import numpy as np

        begins: dict[int, int] = {}
        after: list[int] = []
        for q in sorted(self.work.quanta):
            begins[q] = len(after)
            after += self.said["successors"].get(str(q), ())
            begins[q + 1] = len(after)
        return begins, np.array(after, np.int32)


def _told(said: Mapping[str, Sequence[int]]) -> dict[int, tuple[int, ...]]:
    return {int(q): tuple(others) for q, others in said.items()}


def _node(said: Mapping[str, Any]) -> TaskNode:
    variants = tuple(map(Variant.from_plain, said["variants"]))
    overhead: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in said["overhead"].items()
    }
    fields = {
        **said,
        "key": bytes.fromhex(said["key"]),
        "quantum_units": tuple(said["quantum_units"]),
        "variants": variants,
        "overhead": OverheadNames(**overhead),
    }
    return TaskNode(**fields)


def _parameters(said: Mapping[str, Any] | None) -> Any:
    if said is None:
        return None
    cls = load_class(said["class"])
    if not attrs.has(cls):
        raise ExecutionError(f"{said['class']} is not an attrs class, as a quantum's parameters must be")
    # JSON knows no tuples; a frozen value's sequences were tuples.
    return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in said["values"].items()})


def write_bundle(path: Path, said: Mapping[str, Any]) -> None:
    """Write a bundle file at once: whoever reads it finds all of it or none.

    Raises
    ------
    ExecutionError
        It cannot be written.
    """
    body = json.dumps(said, separators=(",", ":")).encode()
    head = json.dumps({"supertask-bundle": FORMAT, "seal": zlib.crc32(body)}).encode()
    # A machine that fails takes the run with it; what it left of this is known by its seal.
    write_whole(path, head + b"\n" + body, lasting=False)


def read_bundle(path: Path) -> BundlePlan:
    """Read a bundle file.

    Raises
    ------
    ExecutionError
        It is missing, truncated, altered, of another version, or not a bundle.
    """
    try:
        head, _, body = path.read_bytes().partition(b"\n")
        said = json.loads(head)
    except FileNotFoundError:
        raise ExecutionError(
            f"there is no job to be run in {path.parent}: it has no {path.name}. It was taken back (its run "
            "went on without it), or never packed: `supertask pack` makes one"
        ) from None
    except (OSError, ValueError) as error:
        raise ExecutionError(f"{path} cannot be read: {error}; pack the bundle again") from None
    if not isinstance(said, dict) or "supertask-bundle" not in said:
        raise ExecutionError(f"{path} is not a bundle that `supertask pack` made")
    if said["supertask-bundle"] not in _READ:
        raise ExecutionError(
            f"{path} is of format {said['supertask-bundle']}, and this SuperTask reads {FORMAT} at most; use "
            "the same version where bundles are packed and where they run"
        )
    if said.get("seal") != zlib.crc32(body):
        raise ExecutionError(f"{path} is truncated or altered: pack the bundle again")
    return BundlePlan(json.loads(body))


def read_job(job: JobFolder) -> BundlePlan:
    """Read what a job is to do, from its own file or from its sheaf.

    Raises
    ------
    ExecutionError
        As `read_bundle`; or what is to be tried again cannot be read.
    """
    slot = job.slot
    if slot is None or job.bundle.exists():
        return read_bundle(job.bundle)
    said, columns = part_of(slot)
    try:
        said |= json.loads(job.again.read_bytes())
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        raise ExecutionError(f"{job.again} cannot be read: {error}") from None
    return BundlePlan(said, columns)

"""Simulated work: a SuperTask that reads, sleeps and writes in the place of a task of a workflow."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from supertask.butler.port import DatasetSource
from supertask.configs.config import field
from supertask.connections.fields import DatasetField, FieldRole, SuperTaskConfig
from supertask.dataids import DataId
from supertask.datasets import Dataset
from supertask.errors import PreflightError
from supertask.kinds.frozen import FrozenDict
from supertask.quanta import Quantum
from supertask.tasks.quantumparameters import Parameters, parameter
from supertask.tasks.supertask import SuperTask

__all__ = ["INPUTS", "SimulatedTask", "Work", "WorkConfig", "files_of", "is_control"]

INPUTS = "workflow_input"
"""Dataset type of files that are there before."""
_CONTROL = " is done"
_PAGE = 4096


def files_of(step: str) -> str:
    """Return the name of the dataset type of the files that a step writes."""
    return f"{step}_file"


def control_of(job: str) -> str:
    """Return the file by which those wait for a task that read nothing of what it writes."""
    return f"{job}{_CONTROL}"


def is_control(file: str) -> bool:
    """Tell whether a file is one of `control_of`."""
    return file.endswith(_CONTROL)


class WorkConfig(SuperTaskConfig):
    """Configuration of `SimulatedTask`."""

    quantum_units = ("job",)
    # Declared as overhead so that run times and names of tasks do not keep them out of one bundle.
    step: str = field("", doc="Tasks of which step these are.", overhead=True)
    reads: tuple[str, ...] = field((), doc="Dataset types that its tasks read.")
    time_scale: float = field(
        1.0, doc="Seconds to sleep for each second that was needed.", min=0.0, meta=True
    )
    memory_scale: float = field(0.0, doc="Bytes to hold for each byte that was needed.", min=0.0, meta=True)
    size_scale: float = field(1e-6, doc="Bytes to write for each byte that was written.", min=0.0)

    @property
    def dataset_fields(self) -> dict[str, DatasetField]:
        """What it reads and writes: which types, is said by `reads` and `step`."""
        known: FrozenDict[str, DatasetField] | None = self.__dict__.get("_dataset_fields")
        if known is None:
            made = {name: _files(name, FieldRole.INPUT) for name in self.reads}
            if self.step:
                made[files_of(self.step)] = _files(files_of(self.step), FieldRole.OUTPUT)
            known = self.__dict__["_dataset_fields"] = FrozenDict(made)
        return known


def _files(name: str, role: FieldRole) -> DatasetField:
    dataset_type = Dataset.subclass(name, ("file",), "text", "Files of a workflow.")
    return DatasetField(name, role, dataset_type, multiple=True, minimum=0, doc="Files of a workflow.")


class Work(Parameters):
    """What one task of a workflow needs."""

    name: str = parameter("", doc="What it is called in the workflow.", meta=True)
    program: str = parameter("", doc="What it ran.", meta=True)
    seconds: float = parameter(0.0, doc="That it ran.", unit="s")
    cores: float = parameter(1.0, doc="That it used.")
    memory: int = parameter(0, doc="That it held.", unit="byte")
    sizes: tuple[int, ...] = parameter((), doc="Bytes of its files, in the order of their names.")
    input_sizes: tuple[int, ...] = parameter(
        (), doc="Bytes of what it reads that was there before, in the order of names.", meta=True
    )


class SimulatedTask(SuperTask):
    """Reads, sleeps, holds memory and writes as a task of a workflow did, scaled down.

    Who reads and writes what is in the repository: units `job` and `file`, and the relations `reads` and
    `writes` between them.
    """

    ConfigClass = WorkConfig
    _DefaultName = "simulated"
    ParametersClass = Work

    def defineQuanta(self, repoGraph: Any) -> Sequence[Quantum]:
        """Make a quantum of each task of the step."""
        config = self.config
        assert isinstance(config, WorkConfig)  # noqa: S101 - for the type checker
        types = {name: f.dataset_type for name, f in config.dataset_fields.items()}
        table = _Table(repoGraph)
        made = types[files_of(config.step)]
        quanta = []
        for job, values in table.jobs(config.step):
            inputs: dict[type[Dataset], set[Dataset]] = {}
            for file in table.reads.get(job, ()):
                maker = table.maker_of(file)
                name = files_of(maker) if maker else INPUTS
                if name not in types:
                    raise PreflightError(
                        f"job {job!r} reads {file!r}, which is a {name}: config.reads lacks it"
                    )
                inputs.setdefault(types[name], set()).add(types[name](file=file))
            files = sorted(table.writes.get(job, ()))
            outputs = {made: {repoGraph.addDataset(made(file=file)) for file in files}}
            given = sorted(file for file in table.reads.get(job, ()) if not table.maker_of(file))
            work = Work(
                **values,
                sizes=tuple(table.sizes[file] for file in files),
                input_sizes=tuple(table.sizes[file] for file in given),
            )
            quanta.append(Quantum(inputs, outputs, parameters=work, dataId=DataId({"job": job})))
        return quanta

    def runQuantum(self, quantum: Quantum, butler: DatasetSource) -> None:
        """Read, sleep, write."""
        config, work = self.config, quantum.parameters
        assert isinstance(config, WorkConfig)  # noqa: S101 - for the type checker
        until = time.monotonic() + config.time_scale * work.seconds
        held = bytearray(int(config.memory_scale * work.memory))
        for at in range(0, len(held), _PAGE):
            held[at] = 1
        for datasets in quantum.inputs.values():
            for dataset in sorted(datasets):
                butler.get(dataset)
        time.sleep(max(0.0, until - time.monotonic()))
        for datasets in quantum.outputs.values():
            for dataset, size in zip(sorted(datasets), work.sizes, strict=True):
                butler.put(text_of(int(config.size_scale * size)), dataset)


def text_of(size: int) -> str:
    """Return a text of so many bytes."""
    line = "simulated work\n"
    return (line * (size // len(line) + 1))[:size]


class _Table:
    """A workflow as the repository has it."""

    def __init__(self, repoGraph: Any) -> None:
        space = repoGraph.space
        self._jobs = space.tables["job"].keys.tolist()
        columns = ("step", "name", "program", "seconds", "cores", "memory")
        self._values = {name: space.field("job", name).tolist() for name in columns}
        files = space.tables["file"].keys.tolist()
        self.sizes = dict(zip(files, space.field("file", "size").tolist(), strict=True))
        self._steps = dict(zip(files, space.field("file", "step").tolist(), strict=True))
        self.reads = self._pairs(repoGraph, "reads")
        self.writes = self._pairs(repoGraph, "writes")

    @staticmethod
    def _pairs(repoGraph: Any, relation: str) -> Mapping[str, list[str]]:
        found: dict[str, list[str]] = {}
        for both in repoGraph.related(relation):
            found.setdefault(both["job"], []).append(both["file"])
        return found

    def jobs(self, step: str) -> list[tuple[str, dict[str, Any]]]:
        """Return the tasks of a step, and what each needs."""
        values = self._values
        return [
            (job, {name: values[name][i] for name in values if name != "step"})
            for i, job in enumerate(self._jobs)
            if values["step"][i] == step
        ]

    def maker_of(self, file: str) -> str:
        """Return the step that writes a file; empty for none."""
        step: str = self._steps[file]
        return step

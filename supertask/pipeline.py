"""Pipeline: SuperTasks in order, each with a label and a configuration."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import attrs

from supertask import pipelinefiles
from supertask.butler.port import DatasetSource
from supertask.callers import calling_line
from supertask.datasets import Dataset
from supertask.errors import ConfigError, PipelineError, Problems, SuperTaskError, did_you_mean
from supertask.fields import FieldRole
from supertask.initsource import InitSource
from supertask.overrides import Override, parse_override
from supertask.pipelinechecks import check_tasks, is_ordered, sorted_tasks
from supertask.supertask import SuperTask
from supertask.taskdefs import DatasetUse, TaskDef, config_type, dataset_uses, make_task_def
from supertask.units import UnitModel
from supertask.yamltext import Document, YamlError, dump, load_file

__all__ = ["DatasetUse", "Pipeline", "TaskDef"]


class Pipeline(Mapping[str, TaskDef]):
    """An ordered mapping from labels to tasks.

    Methods that change it return it, so that they can be chained.

    Parameters
    ----------
    description : str, optional
        What it is for.

    Examples
    --------
    >>> pipeline = Pipeline("From raw frames to reduced ones")
    >>> pipeline.add("isr", IsrTask).add("calibrate", CalibrateTask, CalibrateConfig(order=2))
    >>> pipeline.applyConfigOverrides(["isr:saturation=60000"])
    """

    def __init__(self, description: str = "") -> None:
        self.description = description
        self._tasks: dict[str, TaskDef] = {}

    # -- as a mapping -------------------------------------------------------------------------

    def __getitem__(self, label: str) -> TaskDef:
        try:
            return self._tasks[label]
        except KeyError:
            raise KeyError(self._unknown(label)) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._tasks)

    def __len__(self) -> int:
        return len(self._tasks)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Pipeline):
            return NotImplemented
        return self.description == other.description and list(self.values()) == list(other.values())

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<Pipeline {self.description!r}: {', '.join(self._tasks) or 'no tasks'}>"

    def _unknown(self, label: str) -> str:
        return (
            f"the pipeline has no task {label!r}{did_you_mean(label, self._tasks)}; "
            f"it has {', '.join(self._tasks) or 'none'}"
        )

    def _known(self, label: str) -> TaskDef:
        if label not in self._tasks:
            raise PipelineError(self._unknown(label))
        return self._tasks[label]

    def _free(self, label: str) -> None:
        if label in self._tasks:
            raise PipelineError(
                f"the pipeline has a task {label!r} already ({self._tasks[label].class_path}): "
                "replace it, or choose another label"
            )

    # -- changes ------------------------------------------------------------------------------

    def add(self, label: str, task_class: type[SuperTask] | str, config: Any = None) -> Self:
        """Add a task at the end.

        Parameters
        ----------
        label : str
            Its name in the pipeline.
        task_class : type or str
            Its class, or the path of it.
        config : Config or Mapping, optional
            Its configuration, or some values of it; the defaults unless given.

        Raises
        ------
        PipelineError
            The label is taken, or class and configuration do not fit.
        ConfigError
            The configuration is not valid.
        """
        self._free(label)
        self._tasks[label] = make_task_def(label, task_class, config)
        return self

    def insert(
        self,
        label: str,
        task_class: type[SuperTask] | str,
        config: Any = None,
        *,
        before: str | None = None,
        after: str | None = None,
    ) -> Self:
        """Add a task before or after another."""
        if (before is None) == (after is None):
            raise PipelineError(f"say where {label!r} goes: before='label' or after='label'")
        self._free(label)
        neighbour = self._known(before if before is not None else str(after)).label
        new = make_task_def(label, task_class, config)
        place = list(self._tasks).index(neighbour) + (before is None)
        tasks = list(self._tasks.values())
        self._set([*tasks[:place], new, *tasks[place:]])
        return self

    def delete(self, label: str) -> Self:
        """Take a task out."""
        del self._tasks[self._known(label).label]
        return self

    def replace(
        self, label: str, task_class: type[SuperTask] | str | None = None, config: Any = None
    ) -> Self:
        """Give a label another class or configuration; a new class without one gets its defaults."""
        old = self._known(label)
        self._tasks[label] = make_task_def(label, task_class or old.task_class, config)
        return self

    def rename(self, label: str, new: str) -> Self:
        """Give a task another label; it keeps its place."""
        old = self._known(label)
        if new != label:
            self._free(new)
        made = make_task_def(new, old.task_class, old.config)
        self._set([made if t.label == label else t for t in self.values()])
        return self

    def copy(self) -> Pipeline:
        """Return a pipeline of the same tasks that can be changed on its own."""
        new = Pipeline(self.description)
        new._tasks = dict(self._tasks)
        return new

    def _set(self, tasks: Iterable[TaskDef]) -> None:
        self._tasks = {t.label: t for t in tasks}

    def applyConfigOverrides(
        self, overrides: Iterable[str | tuple[str, Any]] | Mapping[str, Any], source: str = ""
    ) -> Self:
        """Set values of the tasks' configurations, in order.

        Parameters
        ----------
        overrides : iterable
            Each ``"label:field.sub=value"``, or a pair of ``"label:field.sub"`` and a value (a str
            is text, whose meaning the field's type decides).
        source : str, optional
            What sets them, for the history; the text of the override or the line of code unless given.

        Raises
        ------
        ConfigError
            Names every override that cannot be applied; then none is.
        """
        here = source or calling_line()
        problems = Problems("config overrides")
        by_label: dict[str, list[Override]] = {}
        for item in overrides.items() if isinstance(overrides, Mapping) else overrides:
            text, pair = (item, None) if isinstance(item, str) else (item[0], item)
            label, colon, rest = text.partition(":")
            if not colon:
                problems.add(f"override {text!r} names no task: write it as label:field=value")
            elif label not in self._tasks:
                problems.add(f"override {text!r}: {self._unknown(label)}")
            elif pair is not None:
                by_label.setdefault(label, []).append(Override(rest, pair[1], here))
            else:
                try:
                    by_label.setdefault(label, []).append(parse_override(rest, source or text))
                except ConfigError as error:
                    problems.take(error, f"override {text!r}: ")
        new = dict(self._tasks)
        for label, changes in by_label.items():
            try:
                config = new[label].config.apply_overrides(changes)
                new[label] = attrs.evolve(new[label], config=config)
            except ConfigError as error:
                problems.take(error, f"{label}:")
        problems.raise_if_any(ConfigError)
        self._tasks = new
        return self

    # -- order and consistency ----------------------------------------------------------------

    def checkOrder(self) -> bool:
        """Tell whether every task comes after those whose outputs it reads."""
        return is_ordered(list(self.values()))

    def sort(self) -> Self:
        """Put every task after those whose outputs it reads; otherwise they keep their order.

        Raises
        ------
        PipelineError
            Tasks form a cycle.
        """
        self._set(sorted_tasks(list(self.values())))
        return self

    def check(self, model: UnitModel | None = None) -> None:
        """Refuse a pipeline whose tasks do not fit each other.

        Parameters
        ----------
        model : UnitModel, optional
            Units of the data, to hold the tasks' units against.

        Raises
        ------
        PipelineError
            Names every cycle, every dataset type with two producers, every dataset type whose
            units or storage differ between two tasks, and every unit that the model lacks.
        """
        check_tasks(list(self.values()), model)

    def dataset_types(self) -> dict[str, DatasetUse]:
        """Return every dataset type by name, with the task that makes it and those that read it."""
        return dataset_uses(self.values())

    def overall_inputs(self) -> dict[str, DatasetUse]:
        """Return the dataset types that no task makes: what the repository must have."""
        return {name: use for name, use in self.dataset_types().items() if use.producer is None}

    # -- tasks --------------------------------------------------------------------------------

    def makeTasks(self, butler: DatasetSource | None = None) -> list[SuperTask]:
        """Construct the tasks in order; each can read schemas and configurations of those before it.

        Parameters
        ----------
        butler : DatasetSource, optional
            Where init inputs are that no task of the pipeline makes.

        Raises
        ------
        PipelineError
            A task cannot be constructed, or its schemas are not those it declares.
        """
        init = InitSource(butler)
        made: list[SuperTask] = []
        for taskdef in self.values():
            try:
                task = taskdef.task_class(butler=init, config=taskdef.config, name=taskdef.label)
                schemas = task.getDatasetSchemas()
            except SuperTaskError as error:
                raise PipelineError(f"task {taskdef.label!r} cannot be constructed: {error}") from error
            except Exception as error:
                raise PipelineError(
                    f"task {taskdef.label!r} ({taskdef.class_path}) cannot be constructed: "
                    f"{type(error).__name__}: {error}"
                ) from error
            _check_schemas(taskdef, schemas)
            for dataset_type, schema in schemas.items():
                init.record(dataset_type, schema)
            init.record(config_type(taskdef.label), taskdef.config.to_dict())
            made.append(task)
        return made

    # -- files --------------------------------------------------------------------------------

    @classmethod
    def load(cls, path: str | Path) -> Pipeline:
        """Read a pipeline file; see `supertask.pipelinefiles`.

        Raises
        ------
        PipelineError
            Names everything that is wrong, with file, line and column.
        """
        try:
            document = load_file(path)
        except YamlError as error:
            raise PipelineError(str(error)) from None
        return cls._from(pipelinefiles.read(document))

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Pipeline:
        """Return the pipeline that plain data describes: the inverse of `to_dict`.

        Raises
        ------
        PipelineError
            Names everything that is wrong.
        """
        return cls._from(pipelinefiles.read(Document(plain, "pipeline", {})))

    @classmethod
    def _from(cls, content: pipelinefiles.Content) -> Pipeline:
        new = cls(content.description)
        new._set(content.tasks)
        return new

    def to_dict(self) -> dict[str, Any]:
        """Return the pipeline as plain data with every value of every configuration."""
        return pipelinefiles.write(self.description, list(self.values()), everything=True)

    def save(self, path: str | Path) -> None:
        """Write a pipeline file, with those values of configurations that are not defaults."""
        plain = pipelinefiles.write(self.description, list(self.values()), everything=False)
        Path(path).write_text(dump(plain), encoding="utf-8")


def _check_schemas(taskdef: TaskDef, schemas: Mapping[type[Dataset], Any]) -> None:
    declared = {
        f.dataset_type: name for name, f in taskdef.dataset_fields.items() if f.role is FieldRole.INIT_OUTPUT
    }
    problems = Problems(f"getDatasetSchemas of task {taskdef.label!r}")
    for dataset_type, name in declared.items():
        if dataset_type not in schemas:
            problems.add(f"nothing is returned for the InitOutputField {name!r} ({dataset_type.name!r})")
    for dataset_type in schemas:
        if dataset_type not in declared:
            problems.add(f"{dataset_type!r} is not declared: add an InitOutputField to the configuration")
    problems.raise_if_any(PipelineError)

"""Pipeline: SuperTasks in order, each with a label and a configuration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from supertask.butler.port import DatasetSource
from supertask.configs.callers import calling_line
from supertask.configs.grids import combinations
from supertask.errors import PipelineError
from supertask.pipelines import files as pipelinefiles
from supertask.pipelines.checks import check_content, is_ordered, sorted_tasks
from supertask.pipelines.construction import made_tasks
from supertask.pipelines.edits import Origin, edited, read_origin, says
from supertask.pipelines.overrides import overridden
from supertask.pipelines.parts import merged, selected, taken_in, task_in
from supertask.pipelines.sections import Sections
from supertask.pipelines.taskdefs import DatasetUse, TaskDef, dataset_uses
from supertask.pipelines.writing import write
from supertask.tasks.supertask import SuperTask
from supertask.units import UnitModel
from supertask.yamlfiles.text import Document, dump

__all__ = ["DatasetUse", "Pipeline", "TaskDef"]


class Pipeline(Sections):
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
        super().__init__(description)
        self._origin: Origin | None = None
        """The file that it was read from, for what is saved to look like it."""

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
        self._tasks[label] = self._made(label, task_class, config)
        return self

    def _made(self, label: str, task_class: type[SuperTask] | str, config: Any) -> TaskDef:
        """Return a task, its references to parameters resolved and remembered."""
        task, self._parts = task_in(self._parts, label, task_class, config)
        return task

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
        new = self._made(label, task_class, config)
        place = list(self._tasks).index(neighbour) + (before is None)
        tasks = list(self._tasks.values())
        self._set([*tasks[:place], new, *tasks[place:]])
        return self

    def delete(self, label: str) -> Self:
        """Take a task out, of subsets too, and with it the contracts that speak of it."""
        return self._take(selected(self._content(), exclude=[self._known(label).label]))

    def replace(
        self, label: str, task_class: type[SuperTask] | str | None = None, config: Any = None
    ) -> Self:
        """Give a label another class or configuration; a new class without one gets its defaults."""
        old = self._known(label)
        self._tasks[label] = self._made(label, task_class or old.task_class, config)
        return self

    def rename(self, label: str, new: str) -> Self:
        """Give a task another label; it keeps its place, and subsets, contracts and overrides follow."""
        self._known(label)
        if new != label:
            self._free(new)
        return self._take(selected(self._content(), rename={label: new}))

    def copy(self) -> Pipeline:
        """Return a pipeline of the same tasks that can be changed on its own."""
        new = Pipeline()._take(self._content())
        new._origin = self._origin
        return new

    def merge(
        self,
        other: Pipeline,
        *,
        include: Iterable[str] | None = None,
        exclude: Iterable[str] = (),
        rename: Mapping[str, str] | None = None,
    ) -> Self:
        """Take in the tasks of another pipeline, with its parameters, subsets, steps and contracts.

        Parameters
        ----------
        other : Pipeline
            The other.
        include : iterable of str, optional
            Labels and names of subsets to take; all unless given.
        exclude : iterable of str, optional
            Labels and names of subsets to leave out.
        rename : Mapping, optional
            Label → its label here.

        Raises
        ------
        PipelineError
            Labels, parameters or subsets of the two meet, or there are none such.
        """
        return self._take(merged(self._content(), taken_in(other._content(), include, exclude, rename)))

    def select(self, *words: str) -> Pipeline:
        """Return a pipeline of the tasks that some labels and names of subsets name, in their order."""
        return Pipeline()._take(selected(self._content(), words))

    def applyConfigOverrides(
        self, overrides: Iterable[str | tuple[str, Any]] | Mapping[str, Any], source: str = ""
    ) -> Self:
        """Set values of the tasks' configurations, in order.

        Parameters
        ----------
        overrides : iterable
            Each ``"label:field.sub=value"``, or a pair of ``"label:field.sub"`` and a value (a str
            is text, whose meaning the field's type decides). ``parameters`` as a label means the
            parameters of the pipeline. ``"label{expression}:field=value"`` holds for the data that the
            expression is true of, and stands over all that the pipeline says for data.
        source : str, optional
            What sets them, for the history; the text of the override or the line of code unless given.

        Raises
        ------
        ConfigError
            Names every override that cannot be applied; then none is.
        """
        here = source or calling_line()
        return self._take(overridden(self._content(), overrides, here, source))

    def grid(self, axes: Mapping[str, Sequence[Any]]) -> dict[str, Pipeline]:
        """Return tag → pipeline for every combination of values of ``label:field`` or ``parameters:name``."""
        return {
            tag: self.copy().applyConfigOverrides(chosen, f"grid {tag}") for tag, chosen in combinations(axes)
        }

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
            units or storage differ between two tasks, every unit that the model lacks, every step
            out of order and every contract that does not hold.
        """
        check_content(self._content(), model)

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
        return made_tasks(list(self.values()), butler)

    # -- files --------------------------------------------------------------------------------

    @classmethod
    def load(cls, path: str | Path, overrides: Iterable[str] = ()) -> Pipeline:
        """Read a pipeline file; see `supertask.pipelines.files`.

        Parameters
        ----------
        path : str or Path
            The file; ``file.yaml#subset`` is the part of it that the subset (or a label) names.
        overrides : iterable of str, optional
            Each ``label:field=value`` or ``parameters:name=value``. Parameters without a default can
            be given only here.

        Raises
        ------
        PipelineError
            Names everything that is wrong, with file, line and column.
        ConfigError
            Overrides cannot be applied.
        """
        given, others = pipelinefiles.split_overrides(overrides)
        content = pipelinefiles.load(path, given)
        new = cls()._take(content)
        new._origin = read_origin(path, content, given=bool(given))
        return new.applyConfigOverrides(others) if others else new

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Pipeline:
        """Return the pipeline that plain data describes: the inverse of `to_dict`.

        Raises
        ------
        PipelineError
            Names everything that is wrong.
        """
        return cls()._take(pipelinefiles.read(Document(plain, "pipeline", {})))

    def to_dict(self) -> dict[str, Any]:
        """Return the pipeline as plain data with every value of every configuration."""
        return write(self._content(), everything=True)

    def save(self, path: str | Path) -> None:
        """Write a pipeline file, with those values of configurations that are not defaults.

        What was read from a file keeps the file's comments and order, and its imports.
        """
        Path(path).write_text(self.to_text(path), encoding="utf-8")

    def to_text(self, path: str | Path = "") -> str:
        """Return what `save` writes, were it to the file `path`."""
        content = self._content()
        if self._origin is not None:
            text = edited(self._origin, content, Path(path or self._origin.file))
            if says(text, path or self._origin.file, content):
                return text
        return dump(write(content, everything=False))

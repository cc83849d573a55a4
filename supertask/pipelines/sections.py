"""What stands in a pipeline: its tasks by label, and the sections of its file beside them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Self

import attrs

from supertask.configs.callers import calling_line
from supertask.errors import PipelineError, Problems, did_you_mean
from supertask.kinds.base import MISSING
from supertask.pipelines.cameraoverrides import camera_overrides
from supertask.pipelines.contracts import Contract, make_contract
from supertask.pipelines.dataoverrides import DataOverride, make_override
from supertask.pipelines.overrides import checked_override, unknown
from supertask.pipelines.parameters import Given, Parameter, make_parameter
from supertask.pipelines.parts import Content, Step, Subset
from supertask.pipelines.retention import Retention, laid_over, make_retained
from supertask.pipelines.taskdefs import TaskDef
from supertask.pipelines.writing import with_values

__all__ = ["Sections"]


class Sections(Mapping[str, TaskDef]):
    """Tasks by label, in order, with parameters, subsets, steps, contracts, overrides and retention.

    Methods that change it return it, so that they can be chained.

    Parameters
    ----------
    description : str, optional
        What it is for.
    """

    def __init__(self, description: str = "") -> None:
        self.description = description
        self._tasks: dict[str, TaskDef] = {}
        self._parts = Content()
        """All but description and tasks."""

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
        if not isinstance(other, Sections):
            return NotImplemented
        # References to parameters are a way of writing; two pipelines of equal values do the same.
        return self._content().values() == other._content().values()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<Pipeline {self.description!r}: {', '.join(self._tasks) or 'no tasks'}>"

    def _unknown(self, label: str) -> str:
        return unknown(label, self._tasks)

    def _known(self, label: str) -> TaskDef:
        if label not in self._tasks:
            raise PipelineError(self._unknown(label))
        return self._tasks[label]

    def _content(self) -> Content:
        return attrs.evolve(self._parts, description=self.description, tasks=tuple(self.values()))

    def _take(self, content: Content) -> Self:
        self.description = content.description
        self._set(content.tasks)
        self._parts = attrs.evolve(content, tasks=(), description="")
        return self

    def _set(self, tasks: Iterable[TaskDef]) -> None:
        self._tasks = {t.label: t for t in tasks}

    # -- beside the tasks ------------------------------------------------

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """Named constants, to which values of configurations refer as ``$name``."""
        return MappingProxyType(self._parts.parameters)

    @property
    def subsets(self) -> Mapping[str, Subset]:
        """Tasks that have a name together, by that name."""
        return MappingProxyType(self._parts.subsets)

    @property
    def steps(self) -> tuple[Step, ...]:
        """Subsets in the order in which they are run, each as a whole."""
        return self._parts.steps

    @property
    def contracts(self) -> tuple[Contract, ...]:
        """What must hold between configurations."""
        return self._parts.contracts

    def add_parameter(self, name: str, default: Any = MISSING, **declared: Any) -> Self:
        """Declare a parameter; takes what `supertask.pipelines.parameters.make_parameter` takes."""
        if name in self.parameters:
            raise PipelineError(f"the pipeline has a parameter {name!r} already: set it with set_parameters")
        made = make_parameter(name, default, source=calling_line(), **declared)
        self._parts = attrs.evolve(self._parts, parameters={**self.parameters, name: made})
        return self

    def set_parameters(self, values: Mapping[str, Any], source: str = "") -> Self:
        """Give parameters other values, and set anew what refers to them.

        Parameters
        ----------
        values : Mapping
            Name → value.
        source : str, optional
            What sets them, for the history; the line of code unless given.

        Raises
        ------
        PipelineError
            Names every parameter that is unknown, and every value that is not allowed.
        """
        here = source or calling_line()
        given = {name: Given(value, here) for name, value in values.items()}
        return self._take(with_values(self._content(), given))

    def add_subset(self, name: str, labels: Iterable[str], description: str = "") -> Self:
        """Give some tasks a name together; a subset of that name is replaced."""
        made = Subset(tuple(self._known(label).label for label in labels), description)
        if name in self._tasks:
            raise PipelineError(f"{name!r} is the label of a task, so no subset can have that name")
        self._parts = attrs.evolve(self._parts, subsets={**self.subsets, name: made})
        return self

    def set_steps(self, steps: Sequence[str | Step]) -> Self:
        """Say in which order subsets are run, each as a whole."""
        made = tuple(Step(s) if isinstance(s, str) else s for s in steps)
        for name in (s.subset for s in made if s.subset not in self.subsets):
            known = ", ".join(self.subsets) or "none"
            hint = did_you_mean(name, self.subsets)
            raise PipelineError(f"the pipeline has no subset {name!r}{hint}; it has {known}")
        self._parts = attrs.evolve(self._parts, steps=made)
        return self

    def add_contract(self, expression: str, message: str = "") -> Self:
        """Say what must hold between configurations; see `supertask.pipelines.contracts` for the language.

        Raises
        ------
        ExpressionError
            The expression cannot be understood.
        """
        made = make_contract(expression, message, calling_line())
        self._parts = attrs.evolve(self._parts, contracts=(*self.contracts, made))
        return self

    @property
    def retention(self) -> Mapping[str, Retention]:
        """How long datasets stay, by dataset type or pattern; what is not named stays for good."""
        return MappingProxyType({name: said.policy for name, said in self._parts.retention.items()})

    def set_retention(self, policies: Mapping[str, Retention | str]) -> Self:
        """Say how long datasets of some types stay; what was said of others holds.

        Parameters
        ----------
        policies : Mapping
            Name of a dataset type, or a pattern such as ``*_mask`` → a `Retention` or its value. A name
            comes before patterns, a later pattern before an earlier one. Whether the pipeline has such
            types is told by `check`.

        Raises
        ------
        PipelineError
            There is no such policy; names all.
        """
        problems, here = Problems("retention"), calling_line()
        made = {}
        for name, policy in policies.items():
            try:
                made[name] = make_retained(name, policy, here)
            except PipelineError as error:
                problems.take(error)
        problems.raise_if_any(PipelineError)
        self._parts = attrs.evolve(self._parts, retention=laid_over(self._parts.retention, made))
        return self

    @property
    def overrides(self) -> tuple[DataOverride, ...]:
        """What is otherwise for some data, those of cameras among them."""
        return self._parts.overrides

    @property
    def cameras(self) -> tuple[str, ...]:
        """Instruments whose packages' overrides were taken in."""
        return self._parts.cameras

    def add_override(
        self, label: str, when: Mapping[str, Any] | str, config: Mapping[str, Any] | None = None, **said: Any
    ) -> Self:
        """Say what is otherwise for the quanta of a task whose data match.

        Parameters
        ----------
        label : str
            The task's.
        when : Mapping or str
            Unit, or ``unit.field``, → its value or a list of them; or a data-ID expression.
        config : Mapping, optional
            Values of fields, laid over the task's configuration.
        **said
            ``task_class``, ``drop`` and ``rank``, as `pipelines.dataoverrides.make_override` takes them.

        Raises
        ------
        PipelineError
            There is no such task or class, or nothing is changed.
        ConfigError
            The values are not valid.
        """
        made = make_override(label, when, config, **{"source": calling_line(), **said})
        checked_override(self._content(), made)
        self._parts = attrs.evolve(self._parts, overrides=(*self.overrides, made))
        return self

    def remove_override(self, override: DataOverride) -> Self:
        """Take out an override; raise PipelineError if there is no such."""
        if override not in self.overrides:
            raise PipelineError(f"the pipeline has no such override of {override.label!r}: {override}")
        left = tuple(o for o in self.overrides if o != override)
        self._parts = attrs.evolve(self._parts, overrides=left)
        return self

    def add_camera(self, camera: str) -> Self:
        """Take in what the package of a camera says for its data; see `pipelines.cameraoverrides`."""
        if camera not in self.cameras:
            content = self._content()
            own = [o for o in camera_overrides(camera) if o.label in self._tasks]
            made = tuple(checked_override(content, o) for o in own)
            self._parts = attrs.evolve(
                self._parts, overrides=(*self.overrides, *made), cameras=(*self.cameras, camera)
            )
        return self

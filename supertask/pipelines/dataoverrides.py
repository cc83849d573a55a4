"""Overrides on units of data: other values, another class or no work at all for the quanta that match.

An override of a task says `when` it holds (of the quantum's data ID) and what then is: values of the
configuration, another class, or that there is nothing to do. It stands over what the task's configuration
says, whatever set that. Of several that match one quantum the higher rank stands (the importing file's over
the imported one's, unless ranks are said); at equal rank they must agree, that is, give the same
configuration in either order. What only a plan knows (which quanta match) is found in
`graphbuilder.tasks.variants`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import attrs

from supertask.classpath import ClassPathError, class_path, load_class
from supertask.configs.base import leaves
from supertask.errors import PipelineError, Problems
from supertask.kinds.base import INVALID
from supertask.pipelines.parameters import Parameter, escape, resolve
from supertask.pipelines.taskdefs import TaskDef
from supertask.tasks.supertask import SuperTask
from supertask.yamlfiles.text import Document

__all__ = [
    "ALL_DATA",
    "RANK_CAMERA",
    "RANK_PIPELINE",
    "RANK_USER",
    "DataOverride",
    "FilePlace",
    "anchored",
    "applied",
    "combined",
    "disagreement",
    "drops",
    "expression",
    "from_plain",
    "imported_override",
    "make_override",
    "plain",
    "resolved",
    "say_when",
    "written",
]

RANK_CAMERA = 0
"""Rank of what the package of a camera ships."""
RANK_PIPELINE = 10
"""Rank of what a pipeline says, in its file or in Python; of what it imports one less, and so on."""
RANK_USER = 20
"""Rank of what a command line says."""

ALL_DATA = "all data"

When = Mapping[str, Any] | str


@attrs.frozen
class FilePlace:
    """The place in a file where the values of an override stand, each with a line of its own."""

    document: Document
    path: tuple[Any, ...]


@attrs.frozen
class DataOverride:
    """What is otherwise for the quanta of a task whose data match."""

    label: str
    """Of the task."""
    when: dict[str, Any] | str
    """Unit, or ``unit.field``, to its value or a list of them; or a data-ID expression."""
    config: dict[str, Any] = attrs.field(factory=dict)
    """Values as written: they may be references to parameters."""
    task_class: str = ""
    """Path of the class in the place of the task's own; empty for that."""
    drop: bool | None = None
    """Whether these quanta are left out; None if nothing is said about it."""
    rank: int = RANK_PIPELINE
    """The higher stands over the lower."""
    ranked: bool = attrs.field(default=False, eq=False)
    """Whether the rank was said, so that it stays the same wherever the override is imported."""
    camera: str = attrs.field(default="", eq=False)
    """Whose package ships it; empty for the pipeline's own."""
    source: str = attrs.field(default="", eq=False)
    """Where it is said: ``file:line:column``, a line of code, or an option."""
    given: FilePlace | None = attrs.field(default=None, eq=False, repr=False)

    def __str__(self) -> str:
        return f"{self.source or 'an override'} (when {say_when(self.when)})"


def make_override(
    label: str,
    when: When,
    config: Mapping[str, Any] | None = None,
    *,
    task_class: type[SuperTask] | str = "",
    drop: bool | None = None,
    rank: int | None = None,
    camera: str = "",
    source: str = "",
    given: FilePlace | None = None,
) -> DataOverride:
    """Return a checked override; its rank is that of a pipeline unless given.

    Raises
    ------
    PipelineError
        The condition is none, or there is nothing that it changes; names everything that is wrong.
    """
    problems = Problems(f"override of {label!r}")
    ranked, rank = rank is not None, RANK_PIPELINE if rank is None else rank
    _check_shape(when, config, drop, rank, problems)
    if not config and not task_class and drop is None:
        problems.add("it changes nothing: give it 'config', 'class' or 'drop'")
    if drop and (config or task_class):
        problems.add("what is dropped has no configuration: leave out 'config' and 'class', or 'drop'")
    problems.raise_if_any(PipelineError)
    path = task_class if isinstance(task_class, str) else class_path(task_class)
    own = dict(when) if isinstance(when, Mapping) else when.strip()
    return DataOverride(label, own or {}, dict(config or {}), path, drop, rank, ranked, camera, source, given)


def imported_override(override: DataOverride) -> DataOverride:
    """Return an override as whoever imports it has it: under the importer's own, unless its rank was said."""
    lower = max(override.rank - 1, RANK_CAMERA + 1)
    return override if override.ranked else attrs.evolve(override, rank=lower)


def _check_shape(when: Any, config: Any, drop: Any, rank: Any, problems: Problems) -> None:
    if isinstance(when, Mapping):
        for key, value in when.items():
            values = value if isinstance(value, list | tuple) else [value]
            if not all(isinstance(v, int | float | str) for v in values) or not values:
                problems.add(f"when {key}: give a value or a list of values, got {value!r}")
            if not isinstance(key, str) or not all(w.isidentifier() for w in key.split(".")):
                problems.add(f"when {key!r}: write a unit, or unit.field; else give 'when' an expression")
    elif not isinstance(when, str):
        problems.add(f"when: give a mapping such as {{band: [g, r]}}, or a data-ID expression, got {when!r}")
    if config is not None and not isinstance(config, Mapping):
        problems.add(f"config: must map fields to values, got {config!r}")
    if drop is not None and not isinstance(drop, bool):
        problems.add(f"drop: must be true or false, got {drop!r}")
    if isinstance(rank, bool) or not isinstance(rank, int):
        problems.add(f"rank: must be a whole number, got {rank!r}")


def from_plain(label: str, fields: Mapping[str, Any], **further: Any) -> DataOverride:
    """Return the override that an entry of a file says.

    Raises
    ------
    PipelineError
        As `make_override`, or it does not say when it holds.
    """
    if "when" not in fields:
        raise PipelineError(
            f"override of {label!r}: say 'when' it holds, as when: {{band: r}}, or for all data when: {{}}"
        )
    told = {"rank": fields["rank"]} if "rank" in fields else {}
    return make_override(
        label, fields["when"], fields.get("config"), task_class=fields.get("class") or "",
        drop=fields.get("drop"), **{**further, **told},
    )  # fmt: skip


def plain(override: DataOverride) -> dict[str, Any]:
    """Return what a file says for an override: the inverse of `from_plain`."""
    when = override.when
    found: dict[str, Any] = {"when": dict(when) if isinstance(when, Mapping) else when}
    if override.task_class:
        found["class"] = override.task_class
    if override.config:
        found["config"] = dict(override.config)
    if override.drop is not None:
        found["drop"] = override.drop
    if override.rank != RANK_PIPELINE:
        found["rank"] = override.rank
    return found


def resolved(override: DataOverride, parameters: Mapping[str, Parameter]) -> DataOverride:
    """Return the same override without references to parameters.

    Raises
    ------
    PipelineError
        Names the references that lead nowhere, each with its place.
    """
    problems = Problems(override.source or f"override of {override.label!r}")
    where = override.given

    def note_at(*path: Any) -> Any:
        at = override.source if where is None else where.document.at(*where.path, *path)
        return lambda message: problems.add(f"{at}: {message}" if at else message)

    config = {k: resolve(v, parameters, note_at("config", k)) for k, v in override.config.items()}
    when: Any = override.when
    if isinstance(when, Mapping):
        when = {k: resolve(v, parameters, note_at("when", k)) for k, v in when.items()}
    problems.raise_if_any(PipelineError)
    # Of a parameter without a value it is said where it is declared.
    config = {k: v for k, v in config.items() if v is not INVALID}
    if isinstance(when, Mapping):
        when = {k: v for k, v in when.items() if v is not INVALID}
    return attrs.evolve(override, config=config, when=when)


def written(override: DataOverride, parameters: Mapping[str, Parameter]) -> dict[str, Any]:
    """Return what a file says for an override without references to parameters."""
    whole = resolved(override, parameters)
    return plain(attrs.evolve(whole, config=escape(whole.config), when=escape(whole.when)))


def _quoted(value: Any) -> str:
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return str(value).upper() if isinstance(value, bool) else str(value)


def say_when(when: When) -> str:
    """Return a condition in the words of data-ID expressions, for people."""
    if isinstance(when, str):
        return when or ALL_DATA
    parts = [
        f"{key} IN ({', '.join(map(_quoted, value))})"
        if isinstance(value, list | tuple)
        else f"{key} = {_quoted(value)}"
        for key, value in when.items()
    ]
    return " AND ".join(parts) or ALL_DATA


def expression(when: When) -> str:
    """Return a condition as a data-ID expression, empty for all data."""
    said = say_when(when)
    return "" if said == ALL_DATA else said


# -- what they make of a task -----------------------------------------------------------------------


def applied(task: TaskDef, override: DataOverride, parameters: Mapping[str, Parameter]) -> TaskDef:
    """Return a task with the class and the values of one override.

    Raises
    ------
    PipelineError
        The class cannot be found, or a reference leads nowhere.
    ConfigError
        Values are not valid; names each, with its place.
    """
    whole = resolved(override, parameters)
    if whole.task_class:
        task = _swapped(task, whole)
    if not whole.config:
        return task
    config_class = task.task_class.ConfigClass
    if whole.given is None:
        config = task.config.over(whole.config, whole.source or "an override")
    else:
        path = (*whole.given.path, "config")
        config = config_class.overlaid(whole.config, whole.given.document, path, task.config)
    return attrs.evolve(task, config=config)


def anchored(override: DataOverride, variant: TaskDef) -> DataOverride:
    """Return an override of a file with its relative paths whole, so that it means the same in any other.

    Parameters
    ----------
    override : DataOverride
        The override.
    variant : TaskDef
        What `applied` made of its task.
    """
    paths = {name: value for name, value in leaves(variant.config, "") if isinstance(value, Path)}
    if override.given is None or not paths:
        return override

    def whole(value: Any, name: str) -> Any:
        if isinstance(value, Mapping):
            inside = {k: f"{name}.{k}" if name and k != "config" else name or str(k) for k in value}
            return {k: whole(v, inside[k]) for k, v in value.items()}
        relative = isinstance(value, str) and value.startswith(("./", "../")) and name in paths
        return str(paths[name]) if relative else value

    return attrs.evolve(override, config=whole(override.config, ""))


def _swapped(task: TaskDef, override: DataOverride) -> TaskDef:
    """Give a task another class; values that were set stay as far as it has such fields."""
    try:
        task_class = load_class(override.task_class, SuperTask)
    except ClassPathError as error:
        raise PipelineError(f"{override.source}: override of {task.label!r}: {error}") from None
    config_class = task_class.ConfigClass
    if config_class is type(task.config):
        return attrs.evolve(task, task_class=task_class)
    values = {k: v for k, v in task.config.changes_from().items() if k in config_class.config_fields}
    made: Any = config_class.from_dict(values, f"the configuration of {task.label!r}")
    return attrs.evolve(task, task_class=task_class, config=made)


def drops(overrides: Iterable[DataOverride]) -> DataOverride | None:
    """Return which of the overrides that match a quantum drops it, if it is dropped."""
    said = [o for o in overrides if o.drop is not None]
    top = max((o.rank for o in said), default=0)
    return next((o for o in said if o.rank == top and o.drop), None)


def combined(
    task: TaskDef, overrides: Sequence[DataOverride], parameters: Mapping[str, Parameter]
) -> TaskDef:
    """Return a task as overrides make it that match one quantum: higher ranks over lower ones.

    Raises
    ------
    PipelineError, ConfigError
        As `applied`.
    """
    for override in sorted(overrides, key=lambda o: o.rank):
        task = applied(task, override, parameters)
    return task


def disagreement(
    task: TaskDef, overrides: Sequence[DataOverride], parameters: Mapping[str, Parameter]
) -> tuple[DataOverride, DataOverride, str] | None:
    """Return two overrides of equal rank that match one quantum and disagree, and in what; None if all agree.

    Raises
    ------
    PipelineError, ConfigError
        As `applied`.
    """
    for rank in sorted({o.rank for o in overrides}):
        below = [o for o in overrides if o.rank < rank]
        equals = [o for o in overrides if o.rank == rank]
        if len(equals) < 2:
            continue
        base = combined(task, below, parameters)
        for one, other in combinations(equals, 2):
            if one.drop is not None and other.drop is not None and one.drop != other.drop:
                return one, other, "whether there is work to do"
            if one.task_class and other.task_class and one.task_class != other.task_class:
                return one, other, f"the class: {one.task_class} and {other.task_class}"
            # They agree if it does not matter which of them comes last.
            last = applied(applied(base, one, parameters), other, parameters)
            first = applied(applied(base, other, parameters), one, parameters)
            if last.task_class is not first.task_class or type(last.config) is not type(first.config):
                return one, other, "the class"
            if differ := first.config.diff(last.config):
                words = [f"{path}: {_shown(a)} and {_shown(b)}" for path, (a, b) in differ.items()]
                return one, other, "; ".join(words)
    return None


def _shown(value: Any) -> str:
    return str(getattr(value, "name", value))

"""Overheads: what is costly to make and the same for many quanta, such as a model, a grid or a flat field.

    class Fit(SuperTask):
        ConfigClass = FitConfig  # has `model_path: Path = field(…, overhead=True)`

        @overhead
        def model(self):
            return load(self.config.model_path)

        def run(self, spectrum):
            return Struct(labels=fit(self.model(), spectrum))

Calling such a method where nothing shares overheads (in a notebook, in a test) just makes the object. Where
an `OverheadScope` is in force, as in a worker, it gives the object that was made before for an equal key.
What enters the key: the method, class and version of the task, and the values of all that the method depends
on: fields of the configuration, parameters of the quantum, and inputs (by their identities). It depends on
what the class declares as overhead, unless the decorator names less.

An overhead method takes as arguments the parameters and inputs of the quantum that it depends on, by name;
called without them inside of `runQuantum`, it gets the quantum's own.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar, cast, overload

import attrs

from supertask.errors import ConfigError, Problems, did_you_mean
from supertask.tasks.quantumparameters import meta_names, overhead_parameters

__all__ = [
    "NOTHING_DECLARED",
    "OverheadMethod",
    "OverheadNames",
    "OverheadScope",
    "QuantumScope",
    "current_scope",
    "declared_overhead",
    "overhead",
    "overhead_methods",
    "sharing",
]

R = TypeVar("R")


@attrs.frozen
class OverheadNames:
    """What of a task affects only what its quanta share."""

    config: tuple[str, ...] = ()
    """Paths of fields of its configuration, ``field`` or ``field.sub``."""
    parameters: tuple[str, ...] = ()
    """Names of parameters of its quanta."""
    inputs: tuple[str, ...] = ()
    """Names of dataset types that its quanta read."""
    declared: bool = False
    """Whether the task says anything of overheads; if not, quanta share what they have but data IDs."""
    meta: tuple[str, ...] = ()
    """Names of parameters that change no result, and so never split a bundle."""


NOTHING_DECLARED = OverheadNames()


@attrs.frozen
class OverheadMethod:
    """What the decorator was told."""

    name: str
    function: Callable[..., Any]
    config: tuple[str, ...] | None
    """None for all that the class declares."""
    parameters: tuple[str, ...] | None
    inputs: tuple[str, ...] | None
    """Names of fields."""
    shared: bool = False
    """Whether the processes of a machine are to hold what it makes once."""

    @property
    def arguments(self) -> tuple[str, ...]:
        """Names of its arguments, without ``self``."""
        return _arguments(self.function)


@functools.lru_cache(maxsize=1024)
def _arguments(function: Callable[..., Any]) -> tuple[str, ...]:
    return tuple(inspect.signature(function).parameters)[1:]


class OverheadScope(Protocol):
    """What gives overhead methods the objects that were made before."""

    def shares(self, task: Any, field: Any) -> bool:
        """Tell whether an input is read once for all quanta that have the same."""

    def input(self, task: Any, field: Any, read: Callable[[], Any]) -> Any:
        """Return such an input, read unless it was before."""

    def made(self, task: Any, method: OverheadMethod, given: Mapping[str, Any]) -> Any:
        """Return what an overhead method makes for the quantum under way.

        Parameters
        ----------
        task : SuperTask
            Whose method it is.
        method : OverheadMethod
            The method.
        given : Mapping
            Arguments of the call.
        """


class QuantumScope:
    """Hands overhead methods the parameters and inputs of one quantum, where nothing shares overheads.

    Parameters
    ----------
    quantum : Quantum
        The quantum.
    butler : DatasetSource
        Where its datasets are.
    """

    def __init__(self, quantum: Any, butler: Any) -> None:
        self._quantum = quantum
        self._butler = butler
        self._made: dict[str, Any] = {}

    def shares(self, task: Any, field: Any) -> bool:
        """Tell that nothing is shared."""
        return False

    def input(self, task: Any, field: Any, read: Callable[[], Any]) -> Any:
        """Return what is read."""
        return read()

    def made(self, task: Any, method: OverheadMethod, given: Mapping[str, Any]) -> Any:
        """Make what a method makes, once for this quantum where it is called without arguments."""
        if given or not hasattr(task, "readInput"):
            return method.function(task, **given)
        if method.name not in self._made:
            fields = task.config.config_fields
            arguments = {
                name: task.readInput(name, self._quantum, self._butler)
                if name in fields
                else getattr(task.parametersOf(self._quantum), name)
                for name in method.arguments
            }
            self._made[method.name] = method.function(task, **arguments)
        return self._made[method.name]


_SCOPE: ContextVar[OverheadScope | None] = ContextVar("supertask_overheads", default=None)


def current_scope() -> OverheadScope | None:
    """Return what shares overheads here, None where nothing does."""
    return _SCOPE.get()


@contextmanager
def sharing(scope: OverheadScope | None) -> Iterator[None]:
    """Share overheads within the block."""
    token = _SCOPE.set(scope)
    try:
        yield
    finally:
        _SCOPE.reset(token)


@overload
def overhead(method: Callable[..., R], /) -> Callable[..., R]: ...
@overload
def overhead(
    *,
    config: Iterable[str] | None = None,
    parameters: Iterable[str] | None = None,
    inputs: Iterable[str] | None = None,
    shared: bool = False,
) -> Callable[[Callable[..., R]], Callable[..., R]]: ...
def overhead(
    method: Any = None,
    /,
    *,
    config: Iterable[str] | None = None,
    parameters: Iterable[str] | None = None,
    inputs: Iterable[str] | None = None,
    shared: bool = False,
) -> Any:
    """Mark a method of a SuperTask that makes what quanta share.

    Parameters
    ----------
    config : iterable of str, optional
        Fields of the configuration that it depends on; all that are declared overhead unless given.
    parameters : iterable of str, optional
        Parameters of quanta that it depends on; likewise.
    inputs : iterable of str, optional
        Fields of inputs that it depends on; likewise.
    shared : bool, optional
        The processes of a run on one machine hold what it makes once: one makes it, the others map the same
        memory. For arrays, and mappings, lists, tuples and attrs classes of them.
    """

    def mark(function: Callable[..., Any]) -> Any:
        said = OverheadMethod(
            function.__name__, function, _names(config), _names(parameters), _names(inputs), shared
        )

        @functools.wraps(function)
        def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
            scope = _SCOPE.get()
            if scope is None:
                return function(self, *args, **kwargs)
            given = {**dict(zip(said.arguments, args, strict=False)), **kwargs}
            return scope.made(self, said, given)

        cast("Any", wrapper).overhead_method = said
        return wrapper

    return mark if method is None else mark(method)


def _names(given: Iterable[str] | None) -> tuple[str, ...] | None:
    return None if given is None else (given,) if isinstance(given, str) else tuple(given)


@functools.lru_cache(maxsize=1024)
def overhead_methods(task_class: type[Any]) -> Mapping[str, OverheadMethod]:
    """Return the overhead methods of a class by name, inherited ones too."""
    there = {name: value for owner in reversed(task_class.__mro__) for name, value in vars(owner).items()}
    said = {name: getattr(value, "overhead_method", None) for name, value in sorted(there.items())}
    return {name: method for name, method in said.items() if isinstance(method, OverheadMethod)}


def declared_overhead(task_class: type[Any], config: Any) -> OverheadNames:
    """Return what a task declares as overhead, inherited declarations too.

    Parameters
    ----------
    task_class : type
        Class of the task.
    config : Config
        Its configuration.

    Raises
    ------
    ConfigError
        An overhead method names what is not there; names all.
    """
    parameters_class = getattr(task_class, "ParametersClass", None)
    fields = getattr(config, "dataset_fields", {})
    inputs = {name: f.dataset_type.name for name, f in fields.items() if f.is_input}
    methods: Mapping[str, OverheadMethod] = overhead_methods(cast("Any", task_class))
    found: dict[str, dict[str, None]] = {
        "config": dict.fromkeys(_overhead_fields(config)),
        "parameters": dict.fromkeys(overhead_parameters(parameters_class)),
        "inputs": dict.fromkeys(name for name in inputs if fields[name].overhead),
    }
    problems = Problems(f"overheads of {task_class.__name__}")
    there = {
        "config": set(_paths(config)),
        "parameters": {a.name for a in attrs.fields(parameters_class)}
        if parameters_class is not None
        else set(),
        "inputs": set(inputs),
    }
    for method in methods.values():
        for what, known in there.items():
            for name in getattr(method, what) or ():
                if name in known:
                    found[what][name] = None
                else:
                    problems.add(f"{method.name}: no such {_WORD[what]}: {name!r}{did_you_mean(name, known)}")
        for name in method.arguments:
            if name not in found["parameters"] and name not in found["inputs"]:
                known = {*found["parameters"], *found["inputs"]}
                problems.add(
                    f"{method.name}: argument {name!r} is no parameter or input that is overhead"
                    f"{did_you_mean(name, known)}: declare it with overhead=True, or name it in @overhead(…)"
                )
    problems.raise_if_any(ConfigError)
    return OverheadNames(
        tuple(found["config"]),
        tuple(found["parameters"]),
        tuple(inputs[name] for name in found["inputs"]),
        bool(methods) or any(found.values()),
        meta_names(parameters_class),
    )


_WORD = {"config": "field of the configuration", "parameters": "parameter of quanta", "inputs": "input"}


def _overhead_fields(config: Any, prefix: str = "") -> Iterable[str]:
    """Give paths of fields that are overhead: what is in a nested configuration, one by one."""
    for name, field in config.config_fields.items():
        if hasattr(field.kind, "template"):
            continue  # a dataset type: an input, or nothing that quanta share
        nested = _nested(getattr(config, name))
        if field.overhead:
            yield f"{prefix}{name}"
        elif nested is not None:
            yield from _overhead_fields(nested, f"{prefix}{name}.")


def _paths(config: Any, prefix: str = "") -> Iterable[str]:
    for name, field in config.config_fields.items():
        if hasattr(field.kind, "template"):
            continue
        yield f"{prefix}{name}"
        nested = _nested(getattr(config, name))
        if nested is not None:
            yield from _paths(nested, f"{prefix}{name}.")


def _nested(value: Any) -> Any:
    """Return the configuration that a value is, or that of the subtask that it chooses; None of others."""
    if hasattr(type(value), "config_fields"):
        return value
    chosen = getattr(value, "config", None)
    return chosen if hasattr(type(chosen), "config_fields") else None

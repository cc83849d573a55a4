"""Submit hooks: what a task needs of the job that runs it.

    @submit_hook
    class Java(SubmitHook):
        version: int

        def process(self, job):
            return job.with_environ(JAVA_HOME=f"/opt/java-{self.version}")

    @needs(Java(11))
    class IndexTask(SuperTask): ...

A hook is asked once for each task of a run, before anything of it runs, and says what is to be other:
environment, time, memory, cores, priority. It changes how work is done and not what comes of it, so it
enters no identity. Subclasses inherit the hooks of a task; those of subtasks and of configuration classes
count for the task, too. Equal hooks (of one class, with one `spec`) are applied once, however often they
are met.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import Any, TypeVar, dataclass_transform

import attrs

from supertask.configs.config import Config
from supertask.configs.fields import Configurable
from supertask.configs.policy import parse_size
from supertask.errors import ConfigError, ExecutionError

__all__ = ["JobRequest", "SubmitHook", "hooks_of", "needs", "requested", "submit_hook"]

T = TypeVar("T", bound=type)


@attrs.frozen(kw_only=True)
class JobRequest:
    """What a job asks of whoever runs it."""

    label: str
    """Of the task."""
    environ: Mapping[str, str] = attrs.field(factory=dict)
    """Variables of the environment that are set while one of its quanta runs."""
    timeout: float | None = None
    """Seconds that an attempt may take."""
    memory: int | None = None
    """Bytes that an attempt may hold."""
    cores: int = 1
    """Processor cores. A pool of processes has one for each; batch systems are asked for so many."""
    priority: int = 0
    """Of several jobs that could begin, those of greater priority first, where a batch system knows that."""

    def with_environ(self, **variables: str) -> JobRequest:
        """Return the same with variables set."""
        return attrs.evolve(self, environ={**self.environ, **variables})

    def replace(self, **changes: Any) -> JobRequest:
        """Return the same with fields replaced; `memory` may be text, such as ``4 GB``."""
        if isinstance(changes.get("memory"), str):
            changes["memory"] = parse_size(changes["memory"])
        return attrs.evolve(self, **changes)

    def problems(self) -> Iterator[str]:
        """Yield what cannot be granted by anybody."""
        variables: Mapping[Any, Any] = self.environ
        for name, value in variables.items():
            if not isinstance(name, str) or not isinstance(value, str) or not name or "=" in name:
                yield f"environ: {name!r}={value!r} must be text, the name without '='"
            elif "\0" in name + value:
                yield f"environ: {name!r} holds a zero byte"
        if self.timeout is not None and not self.timeout > 0:
            yield f"timeout: must be more than 0 s, got {self.timeout!r}"
        if self.memory is not None and not self.memory > 0:
            yield f"memory: must be more than 0 bytes, got {self.memory!r}"
        if self.cores < 1:
            yield f"cores: must be 1 or more, got {self.cores!r}"


class SubmitHook(abc.ABC):
    """Says what a task needs of the job that runs it."""

    def spec(self) -> Hashable:
        """Return what makes two hooks of this class the same; all of its attributes unless overridden."""
        return tuple(sorted((k, repr(v)) for k, v in _attributes(self).items()))

    @abc.abstractmethod
    def process(self, job: JobRequest) -> JobRequest:
        """Return the job as it is to be."""


def _attributes(hook: SubmitHook) -> dict[str, Any]:
    if attrs.has(type(hook)):
        kind: Any = type(hook)
        return {f.name: getattr(hook, f.name) for f in attrs.fields(kind)}
    return dict(vars(hook))


@dataclass_transform(frozen_default=True)
def submit_hook(cls: T) -> T:
    """Make a frozen attrs class of a hook, so that its annotated names are what it is made with."""
    return attrs.frozen(cls)


def needs(*hooks: SubmitHook) -> Callable[[T], T]:
    """Decorate a task class or a configuration class: jobs for it need this.

    Raises
    ------
    ConfigError
        Something else than a hook is given.
    """
    for hook in hooks:
        if not isinstance(hook, SubmitHook):
            raise ConfigError(f"needs() takes hooks, such as needs(Java(11)), got {hook!r}")

    def decorate(cls: T) -> T:
        # In the class's own namespace, so that what it inherits stays what it is.
        own = (*hooks, *vars(cls).get("submit_hooks", ()))
        type.__setattr__(cls, "submit_hooks", own)
        return cls

    return decorate


def hooks_of(task: type, config: Config) -> list[SubmitHook]:
    """Return the hooks of a task, each once: of base classes first, then its own, those of its parts last."""
    found: dict[Hashable, SubmitHook] = {}
    for cls in _classes(task, config):
        for base in reversed(cls.__mro__):
            for hook in vars(base).get("submit_hooks", ()):
                found.setdefault((type(hook), hook.spec()), hook)
    return list(found.values())


def _classes(task: type, config: Config) -> Iterable[type]:
    yield task
    yield type(config)
    for name in config.config_fields:
        value = getattr(config, name)
        if isinstance(value, Configurable):
            yield from _classes(value.target, value.config)
        elif isinstance(value, Config):
            yield from _classes(type(value), value)


def requested(job: JobRequest, hooks: Iterable[SubmitHook]) -> JobRequest:
    """Return a job as hooks want it.

    Raises
    ------
    ExecutionError
        A hook raised, gave no job, or one that nobody can grant.
    """
    for hook in hooks:
        name = type(hook).__name__
        try:
            made: Any = hook.process(job)
        except Exception as error:
            raise ExecutionError(
                f"submit hook {name} of task {job.label!r} raised {type(error).__name__}: {error}"
            ) from error
        if not isinstance(made, JobRequest):
            raise ExecutionError(
                f"submit hook {name} of task {job.label!r} must return the job, got {made!r}: "
                "write `return job.with_environ(…)` or `return job.replace(…)`"
            )
        problems = list(made.problems())
        if problems:
            raise ExecutionError(f"submit hook {name} of task {job.label!r}: {'; '.join(problems)}")
        job = made
    return job

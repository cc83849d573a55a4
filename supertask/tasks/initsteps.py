"""Init steps: what restores state before ``runQuantum``, written once and shared between tasks.

    class LoadModel(InitStep):
        ConfigClass = LoadModelConfig
        _DefaultName = "loadModel"

        def restore(self, weights):  # an input field of the task that has the step
            return Model(weights, precision=self.config.precision)

    class EvaluateConfig(SuperTaskConfig):
        weights = InputField(storage="numpy", doc="Learned by another task.")
        model = ConfigurableField(LoadModel, doc="How the model is restored.")

    class EvaluateTask(SuperTask):
        def run(self, spectrum, model): ...

A step is a `ConfigurableField` of a task whose target is an `InitStep`. Its ``restore`` names the input
fields that it reads, which ``run`` then gets only where it names them, too. What it restores comes to
``run`` under the field's name, and is ``self.call.restored[name]`` for a task that writes its own
``runQuantum``.

The step's class, version and configuration enter the task's identity as those of any subtask, and what it
reads as any input. What was restored from the same inputs by the same step is kept for the next quantum,
of whichever task, so it must not be changed.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import attrs

from supertask.configs.config import Config
from supertask.configs.fields import Configurable
from supertask.configs.identities import identity_path, task_key
from supertask.errors import ConfigError, did_you_mean
from supertask.tasks.task import Task

__all__ = ["InitStep", "InitStepConfig", "Restored", "Step", "init_steps"]


class InitStepConfig(Config):
    """Configuration of a step that has nothing to configure."""


class InitStep(Task):
    """Base of steps that restore state before ``runQuantum``."""

    ConfigClass: ClassVar[type[Config]] = InitStepConfig
    _DefaultName = "initStep"

    def restore(self, *args: Any, **inputs: Any) -> Any:
        """Return what is restored; to be written by subclasses, with input fields as parameters."""
        raise NotImplementedError(f"{type(self).__name__} does not define restore")


@attrs.frozen(eq=False)
class Step:
    """A step of one task."""

    task: InitStep
    reads: tuple[str, ...]
    """Input fields of the task that has it."""
    key: bytes
    """Identity of its class, version and configuration."""


_known: WeakKeyDictionary[Task, Mapping[str, Step]] = WeakKeyDictionary()


def init_steps(task: Task) -> Mapping[str, Step]:
    """Return the steps of a task by field.

    Raises
    ------
    ConfigError
        A step reads what the task has no input of.
    """
    found = _known.get(task)
    if found is None:
        found = _known[task] = _find(task)
    return found


def _find(task: Task) -> dict[str, Step]:
    found: dict[str, Step] = {}
    config = task.config
    for name in config.config_fields:
        value = getattr(config, name)
        if not isinstance(value, Configurable) or not issubclass(value.target, InitStep):
            continue
        step: InitStep = task.makeSubtask(name)
        inputs = [n for n, f in getattr(config, "dataset_fields", {}).items() if f.is_input]
        reads = tuple(inspect.signature(step.restore).parameters)
        for word in reads:
            if word not in inputs:
                raise ConfigError(
                    f"init step {name!r} ({value.target.__name__}) of task {task.full_name!r} restores from "
                    f"{word!r}, which is no input of the task{did_you_mean(word, inputs)}; it has "
                    f"{', '.join(inputs) or 'none'}"
                )
        key = task_key(identity_path(value.target), str(value.target.version), value.config)
        found[name] = Step(step, reads, key)
    return found


class Restored:
    """What steps restored, for whoever needs the same again; a few objects, the last used ones.

    Parameters
    ----------
    most : int, optional
        How many are kept.
    """

    def __init__(self, most: int = 4) -> None:
        self._most = most
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """Return the object of a key, made if it is not kept."""
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        made = make()
        self._kept[key] = made
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return made

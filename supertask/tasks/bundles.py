"""Bundle: quanta of one task that run together, as a task sees them that works on several at once.

    def runBundle(self, bundle, butler):
        model = self.model()  # once for all
        for item in bundle:
            with item as (quantum, inputs, parameters):
                labels = fit(model, inputs.spectrum, parameters.initial_guess)
                item.butler.put(labels, *quantum.outputs[Labels])

An exception in a ``for`` body never reaches the generator that feeds it; so each item is a context manager,
and what is raised within fails its quantum and no other. Quanta that nobody entered count as done if all
their outputs were written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Any, Protocol, Self

from supertask.butler.port import DatasetSource
from supertask.errors import ExecutionError, did_you_mean
from supertask.quanta import Quantum

__all__ = ["STAGES", "Bundle", "BundleItem", "Inputs", "Keeper"]

STAGES = ("pre_execute", "execute", "post_execute")


class Keeper(Protocol):
    """Who keeps account of the quanta of a bundle."""

    def enter(self, item: BundleItem) -> None:
        """Begin, or go on, to work on a quantum."""

    def leave(self, item: BundleItem, error: BaseException | None) -> bool:
        """End that for now; return whether the error was taken."""

    def has_ended(self, item: BundleItem) -> bool:
        """Tell whether a quantum has ended."""

    def stage(self, name: str) -> AbstractContextManager[object]:
        """Return what a stage is run in."""


class _Alone:
    """Keeps account where nothing else does: in a notebook."""

    def __init__(self) -> None:
        self.errors: dict[int, BaseException] = {}

    def enter(self, item: BundleItem) -> None:
        pass

    def leave(self, item: BundleItem, error: BaseException | None) -> bool:
        if isinstance(error, Exception):
            self.errors[item.position] = error
            return True
        return False

    def has_ended(self, item: BundleItem) -> bool:
        return item.position in self.errors

    def stage(self, name: str) -> AbstractContextManager[object]:
        return nullcontext()


class Inputs:
    """Inputs of a quantum by field, each read when it is asked for: ``inputs.spectrum``."""

    def __init__(self, read: Callable[[str], Any]) -> None:
        self.__dict__["_read"] = read

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        value = self.__dict__["_read"](name)
        self.__dict__[name] = value
        return value

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)


class BundleItem:
    """One quantum of a bundle; unpacks to the quantum, its inputs and its parameters."""

    __slots__ = ("_keeper", "butler", "inputs", "parameters", "position", "quantum")

    def __init__(
        self, position: int, task: Any, quantum: Quantum, butler: DatasetSource, keeper: Keeper
    ) -> None:
        self.position = position
        self.quantum = quantum
        self.butler = butler
        """Knows this quantum's datasets, and nothing else."""
        self.inputs = Inputs(lambda name: task.readInput(name, quantum, butler))
        self.parameters = task.parametersOf(quantum)
        self._keeper = keeper

    @property
    def ended(self) -> bool:
        """Whether the quantum has ended: in an earlier stage, say, where it failed."""
        return self._keeper.has_ended(self)

    def __iter__(self) -> Iterator[Any]:
        return iter((self.quantum, self.inputs, self.parameters))

    def __enter__(self) -> Self:
        self._keeper.enter(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        return self._keeper.leave(self, error)


class Bundle:
    """Quanta that run together.

    Parameters
    ----------
    task : SuperTask
        Their task.
    quanta : sequence of Quantum
        The quanta.
    butlers : sequence of DatasetSource
        Of each; or one that knows all.
    keeper : Keeper, optional
        Keeps account of them. Unless given, what fails is kept in `errors`.
    """

    def __init__(
        self,
        task: Any,
        quanta: Sequence[Quantum],
        butlers: Sequence[DatasetSource] | DatasetSource,
        keeper: Keeper | None = None,
    ) -> None:
        self._alone = _Alone()
        self._keeper = keeper if keeper is not None else self._alone
        if isinstance(butlers, DatasetSource):
            butlers = [butlers] * len(quanta)
        if len(butlers) != len(quanta):
            raise ExecutionError(
                f"{len(quanta)} quanta cannot have {len(butlers)} butlers: give one for each"
            )
        self._task, self._quanta, self._butlers = task, quanta, butlers
        self._items: dict[int, BundleItem] = {}

    def __len__(self) -> int:
        return len(self._quanta)

    def __iter__(self) -> Iterator[BundleItem]:
        return map(self.__getitem__, range(len(self)))

    def __getitem__(self, position: int) -> BundleItem:
        if not -len(self) <= position < len(self):
            raise IndexError(f"a bundle of {len(self)} quanta has none at {position}")
        position %= len(self)
        item = self._items.get(position)
        if item is None:
            # Made when it is asked for: an algorithm may have no need of its quanta one by one.
            quantum, butler = self._quanta[position], self._butlers[position]
            item = self._items[position] = BundleItem(position, self._task, quantum, butler, self._keeper)
        return item

    @property
    def errors(self) -> dict[int, BaseException]:
        """Position → what was raised, where nobody else keeps account."""
        return self._alone.errors

    @property
    def quanta(self) -> list[Quantum]:
        """The quanta in order."""
        return [item.quantum for item in self]

    def quantum(self, which: Quantum | int) -> BundleItem:
        """Return the item of a quantum, to work on it in a ``with`` block.

        Raises
        ------
        ExecutionError
            It is not in the bundle.
        """
        if isinstance(which, int):
            return self[which]
        for item in self:
            if item.quantum is which or item.quantum == which:
                return item
        raise ExecutionError(f"{which!r} is not in this bundle of {len(self)} quanta")

    def stack(self, name: str) -> Any:
        """Return one input of all quanta as an array, shape (quanta, …); reads them all.

        Raises
        ------
        ExecutionError
            They differ in shape.
        """
        import numpy as np

        values = [np.asarray(item.inputs[name]) for item in self]
        shapes = {v.shape for v in values}
        if len(shapes) > 1:
            raise ExecutionError(f"inputs {name!r} cannot be one array: they have shapes {sorted(shapes)}")
        return np.stack(values) if values else np.empty((0,))

    def column(self, name: str) -> Any:
        """Return one parameter of all quanta as an array, shape (quanta, …).

        Raises
        ------
        ExecutionError
            There is no such parameter.
        """
        import numpy as np

        found = []
        for item in self:
            if not hasattr(item.parameters, name):
                known = list(getattr(item.parameters, "__dict__", ()))
                raise ExecutionError(f"quanta have no parameter {name!r}{did_you_mean(name, known)}")
            found.append(getattr(item.parameters, name))
        return np.asarray(found)

    def stage(self, name: str) -> AbstractContextManager[object]:
        """Return what to run a stage in: ``with bundle.stage("pre_execute"): …``.

        Raises
        ------
        ExecutionError
            There is no such stage.
        """
        if name not in STAGES:
            raise ExecutionError(
                f"no stage {name!r}{did_you_mean(name, STAGES)}: they are {', '.join(STAGES)}"
            )
        return self._keeper.stage(name)

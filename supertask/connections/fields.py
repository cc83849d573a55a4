"""Dataset types as fields of a SuperTask's configuration: what it reads and writes.

    class IsrConfig(SuperTaskConfig):
        quantum_units = ("exposure", "detector")
        raw = InputField(units=("exposure", "detector"), storage="fits_image", doc="Raw frame.")
        flat = CalibrationField(units=("detector", "physical_filter"), storage="fits_image", doc="Flat.")
        isr_image = OutputField(units=("exposure", "detector"), storage="fits_image", doc="Reduced frame.")

The class fixes units and storage; the name in the repository is configurable: ``IsrConfig(raw="my_raw")``,
or the override ``isr:raw=my_raw``. On an instance, ``config.raw`` is the Dataset class of that name.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from supertask.configs.config import Config, field
from supertask.configs.fields import ConfigField, Declaration, Special
from supertask.configs.policy import FailurePolicy
from supertask.connections.inputlookups import Find, When, gap_ns, which
from supertask.datasets import Dataset, DatasetType
from supertask.errors import ConfigError, DatasetTypeError, Problems
from supertask.kinds.base import MISSING, At, Kind
from supertask.kinds.frozen import FrozenDict
from supertask.yamlfiles.nodes import Node, Scalar

__all__ = [
    "CalibrationField",
    "DatasetField",
    "FieldRole",
    "InitInputField",
    "InitOutputField",
    "InputField",
    "OutputField",
    "SuperTaskConfig",
]


class FieldRole(enum.Enum):
    """What a task does with the datasets of a field."""

    INPUT = "input"
    CALIBRATION = "calibration"
    """An input that is looked up by the time for which it is valid."""
    OUTPUT = "output"
    INIT_INPUT = "init_input"
    """Read when the task is constructed."""
    INIT_OUTPUT = "init_output"
    """Known when the task is constructed, written once for a whole run."""


@attrs.frozen
class DatasetField:
    """What a task says of one of its dataset types."""

    attribute: str
    """Name of the field in the configuration."""
    role: FieldRole
    dataset_type: type[Dataset]
    multiple: bool | None = None
    """Whether `run` gets a list; None leaves it to units: a list, if the quantum's do not say which one."""
    minimum: int = 1
    """How many a quantum needs at least."""
    quorum: float | None = None
    """How many of the planned ones (int), or which share of them (float), is enough where others failed to be
    made; None for all."""
    deferred: bool = False
    """Whether `run` gets handles that read when asked."""
    mark: bool = False
    """Whether it only says what a quantum depends on, and `run` does not get it."""
    prerequisite: bool = False
    """Whether it is in the repository before, and made by no task of the pipeline."""
    select: dict[str, tuple[Any, ...]] = attrs.field(factory=dict)
    """Unit or ``unit.field`` → the values that a dataset's must be one of."""
    whole: bool = False
    """Whether the expression selects quanta only, and leaves what they gather of it whole."""
    when: When = When.VALID
    """Which one is looked up by time."""
    max_gap: int | None = None
    """Nanoseconds that the one looked up by time may be away."""
    alike: tuple[str, ...] = ()
    """Units that must be the same in the one looked up by time, besides those that its own units share."""
    find: Find | None = None
    """A look-up function of its own."""
    overhead: bool = False
    """Whether it affects only what quanta share."""
    metadata: bool = False
    """Whether it is what the task noted of itself, which `run` does not return."""
    doc: str = ""

    @property
    def untrimmed(self) -> bool:
        """Whether the expression does not narrow what is read of it."""
        return self.whole or self.prerequisite or self.find is not None or self.when is not When.VALID

    @property
    def is_input(self) -> bool:
        """Whether a quantum reads it."""
        return self.role in (FieldRole.INPUT, FieldRole.CALIBRATION)


@lru_cache(maxsize=4096)
def _dataset_type(name: str, units: tuple[str, ...], storage: str, doc: str) -> type[Dataset]:
    return Dataset.subclass(name, units, storage, doc)


class DatasetKind(Kind):
    """The name of a dataset type whose units and storage are fixed."""

    identity = False  # what is read enters by its content, what is written by its field
    verbatim = True

    def __init__(self, template: DatasetField) -> None:
        self.template = template

    def say(self) -> str:
        kind = self.template.dataset_type
        return f"the name of a dataset type ({', '.join(kind.units)}) as {kind.storage}"

    def accept(self, value: Any, at: At, current: Any = MISSING) -> Any:
        fixed = self.template.dataset_type
        if isinstance(value, DatasetType):
            if value == fixed or (set(value.units), value.storage) == (set(fixed.units), fixed.storage):
                return value
            return at.note(
                f"must have units ({', '.join(fixed.units)}) and storage {fixed.storage}, got {value!r}"
            )
        if not isinstance(value, str):
            return self.refuse(value, at)
        try:
            return _dataset_type(value, fixed.units, fixed.storage, fixed.doc)
        except DatasetTypeError as error:
            return at.note(str(error))

    def parse(self, node: Node, at: At, current: Any = MISSING) -> Any:
        return self.accept(node.text, at) if isinstance(node, Scalar) else self.refuse(node, at)

    def plain(self, value: Any) -> Any:
        return value.name


def _words(value: Iterable[str] | str) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _select(value: Mapping[str, Any] | None) -> dict[str, tuple[Any, ...]]:
    return {
        name: tuple(v) if isinstance(v, list | tuple | set | frozenset) else (v,)
        for name, v in (value or {}).items()
    }


class _DatasetDeclaration(Declaration):
    """What the five kinds of dataset field have in common."""

    typed = False
    _role: ClassVar[FieldRole]

    def __init__(self, units: Iterable[str] | str, storage: str, doc: str, name: str, **options: Any) -> None:
        self._units = _words(units)
        self._storage = storage
        self._doc = doc
        self._name = name
        self._options = options

    if TYPE_CHECKING:  # what it is on instances of the configuration

        def __get__(self, instance: object, owner: type | None = None) -> type[Dataset]:
            raise NotImplementedError

    def bind(self, name: str, annotation: Any, special: Special) -> ConfigField:
        """Return the field that this declares."""
        if annotation is not MISSING:
            raise ConfigError(
                f"a dataset field has no type annotation: write `{name} = {type(self).__name__}(…)`"
            )
        if not self._doc:
            raise ConfigError(f"it has no doc: say in a line what it is, {type(self).__name__}(…, doc='…')")
        try:
            dataset_type = _dataset_type(self._name or name, self._units, self._storage, self._doc)
        except DatasetTypeError as error:
            raise ConfigError(str(error)) from None
        template = DatasetField(name, self._role, dataset_type, doc=self._doc, **self._options)
        self._check(template)
        return ConfigField(
            name,
            DatasetKind(template),
            str,
            default=dataset_type,
            doc=self._doc,
            overhead=template.overhead,
        )

    def _check(self, template: DatasetField) -> None:
        problems = Problems("dataset field")
        minimum: Any = template.minimum
        if type(minimum) is not int or minimum < 0:
            problems.add(f"minimum must be a count, 0 or more, got {minimum!r}")
        elif template.multiple is False and minimum > 1:
            problems.add(f"multiple=False and minimum={minimum} contradict each other")
        quorum = template.quorum
        if quorum is not None:
            known = type(quorum) is int or (type(quorum) is float and quorum <= 1)
            if not known or not quorum > 0:
                problems.add(f"quorum must be a number (12) or a share (0.8) of inputs, got {quorum!r}")
        for word, values in template.select.items():
            if not all(part.isidentifier() for part in word.split(".")) or word.count(".") > 1:
                problems.add(f"select: {word!r} must be a unit or unit.field")
            if not values or not all(isinstance(v, str | int | float | bool) for v in values):
                problems.add(
                    f"select: {word!r} needs one or more values (str, int, float, bool), got {values!r}"
                )
        if template.when is When.VALID and (template.max_gap is not None or template.alike):
            problems.add("max_gap and alike are for look-ups by time: give when=When.NEAREST, too")
        if template.find is not None and (template.when is not When.VALID or template.select):
            problems.add("find is a look-up of its own: it leaves no room for when or select")
        find: Any = template.find
        if find is not None and not callable(find):
            problems.add(f"find must be a function of quanta and RepoGraph, got {find!r}")
        problems.raise_if_any(ConfigError)


class InputField(_DatasetDeclaration):
    """Declare a dataset type that a quantum reads.

    Parameters
    ----------
    units : sequence of str
        Units that label it; parents need not be named.
    storage : str
        Its storage format, such as ``fits_image``.
    doc : str
        What it is.
    name : str, optional
        Its default name in the repository; the name of the field unless given.
    multiple : bool, optional
        Whether `run` gets a list, in the order of data IDs. Unless said it follows from units: a
        list, if the quantum's units do not determine which one it is.
    minimum : int, optional
        How many a quantum needs at least. With 0 `run` gets None (or an empty list) if there is none.
    quorum : int or float, optional
        How many inputs (int), or which share of the planned ones (float), is enough where some failed to be
        made: the quantum then runs without those, and its outputs carry a caveat. Unless given, one
        that failed blocks it.
    deferred : bool, optional
        Whether `run` gets handles with a `get` of their own, to read later, in part, or not at all.
    prerequisite : bool, optional
        Whether it is in the repository before, and made by no task of the pipeline. The expression
        does not narrow it.
    select : Mapping, optional
        Unit or ``unit.field`` → value, or several to choose from: only such datasets are read.
    whole : bool, optional
        Whether the expression selects quanta only: with ``visit = 1`` a coadd of patches that visit 1
        lies on is then still made of all their visits that the repository has.
    when : When, optional
        Which one is looked up by the time of the quantum: ``When.NEAREST`` or ``When.LATEST_BEFORE``
        of those whose other units are the same; their own time is that of the unit that has one.
        The expression does not narrow it.
    max_gap : datetime.timedelta or Quantity, optional
        How far away in time that one may be.
    alike : sequence of str, optional
        Units that must be the same besides, such as ``physical_filter``.
    find : callable, optional
        A look-up of its own, ``find(quanta, repoGraph)``: it gets all quanta (`GroupedQuanta`) at
        once and returns two columns, int: the position of a quantum, and the row of a dataset in
        ``repoGraph.datasets[type]``, for each pair that belongs together. The expression does not
        narrow what it may choose from.
    overhead : bool, optional
        Whether it affects only what quanta share.
    """

    _role = FieldRole.INPUT

    def __init__(
        self,
        units: Iterable[str] | str = (),
        storage: str = "",
        *,
        doc: str,
        name: str = "",
        multiple: bool | None = None,
        minimum: int = 1,
        quorum: float | None = None,
        deferred: bool = False,
        prerequisite: bool = False,
        select: Mapping[str, Any] | None = None,
        whole: bool = False,
        when: When | str = When.VALID,
        max_gap: Any = None,
        alike: Iterable[str] | str = (),
        find: Find | None = None,
        overhead: bool = False,
    ) -> None:
        super().__init__(
            units,
            storage,
            doc,
            name,
            multiple=multiple,
            minimum=minimum,
            quorum=quorum,
            deferred=deferred,
            prerequisite=prerequisite,
            select=_select(select),
            whole=whole,
            when=which(when),
            max_gap=gap_ns(max_gap),
            alike=_words(alike),
            find=find,
            overhead=overhead,
        )


class CalibrationField(InputField):
    """Declare a dataset type that a quantum reads and that is looked up by the time of the observation.

    It takes what `InputField` takes.
    """

    _role = FieldRole.CALIBRATION


class OutputField(_DatasetDeclaration):
    """Declare a dataset type that a quantum writes.

    Parameters
    ----------
    units : sequence of str
        Units that label it; parents need not be named.
    storage : str
        Its storage format.
    doc : str
        What it is.
    name : str, optional
        Its default name in the repository; the name of the field unless given.
    minimum : int, optional
        How many a quantum writes at least; 0 for one that it may leave out.
    multiple : bool, optional
        Whether `run` returns several, by data ID or in the order of data IDs.
    """

    _role = FieldRole.OUTPUT

    def __init__(
        self,
        units: Iterable[str] | str = (),
        storage: str = "",
        *,
        doc: str,
        name: str = "",
        multiple: bool | None = None,
        minimum: int = 1,
    ) -> None:
        super().__init__(units, storage, doc, name, multiple=multiple, minimum=minimum)


class MetadataField(_DatasetDeclaration):
    """Declare the dataset that a quantum's metadata become: what task and subtasks noted, with timers.

    `run` does not return it; `SuperTask.runQuantum` writes it after all else, with a timer for `run` itself.

    Parameters
    ----------
    units : sequence of str
        Those of the quantum.
    storage : str, optional
        Its storage format.
    doc : str
        What it is.
    name : str, optional
        Its default name in the repository; the name of the field unless given.
    """

    _role = FieldRole.OUTPUT

    def __init__(
        self, units: Iterable[str] | str, storage: str = "json", *, doc: str, name: str = ""
    ) -> None:
        super().__init__(units, storage, doc, name, metadata=True)


class _InitField(_DatasetDeclaration):
    """A dataset without units, of the task rather than of a quantum."""

    def __init__(self, storage: str = "yaml", *, doc: str, name: str = "") -> None:
        super().__init__((), storage, doc, name)


class InitInputField(_InitField):
    """Declare a dataset that is read when the task is constructed, such as the schema of a catalogue.

    Parameters
    ----------
    storage : str
        Its storage format.
    doc : str
        What it is.
    name : str, optional
        Its default name in the repository; the name of the field unless given.
    """

    _role = FieldRole.INIT_INPUT


class InitOutputField(_InitField):
    """Declare a dataset that is known when the task is constructed, and written once for a whole run.

    It takes what `InitInputField` takes.
    """

    _role = FieldRole.INIT_OUTPUT


def _clashes(fields: Iterable[DatasetField]) -> Iterator[str]:
    """Yield what is wrong with fields of one task that have one dataset type."""
    seen: dict[tuple[bool, str], str] = {}
    for each in fields:
        reads = each.is_input or each.role is FieldRole.INIT_INPUT
        name = each.dataset_type.name
        other = seen.setdefault((reads, name), each.attribute)
        if other == each.attribute:
            continue
        if reads:
            yield (
                f"{other!r} and {each.attribute!r} both read {name!r}: a quantum keeps its inputs by "
                "dataset type, so read it through one field with multiple=True"
            )
        else:
            yield f"{other!r} and {each.attribute!r} both write {name!r}: give one of them another name"


class SuperTaskConfig(Config):
    """Base of the configurations of SuperTasks: fields, and what the task reads and writes."""

    quantum_units: ClassVar[tuple[str, ...]] = ()
    """Units of one quantum; empty for a task that defines its quanta by hand."""

    policy: FailurePolicy = field(
        FailurePolicy(), doc="What a quantum may use, and what is done when it fails.", meta=True
    )

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # What a task is about comes before how its failures are taken.
        own = {name: f for name, f in cls.config_fields.items() if name != "policy"}
        cls.config_fields = MappingProxyType({**own, "policy": cls.config_fields["policy"]})
        cls.quantum_units = _words(cls.quantum_units)
        problems = Problems(f"configuration class {cls.__name__}")
        if len(set(cls.quantum_units)) != len(cls.quantum_units):
            problems.add(f"quantum_units names a unit twice: {cls.quantum_units!r}")
        kinds = {name: f.kind for name, f in cls.config_fields.items()}
        for clash in _clashes([k.template for k in kinds.values() if isinstance(k, DatasetKind)]):
            problems.add(clash)
        problems.raise_if_any(ConfigError)

    def _own_problems(self) -> Iterable[str]:
        return _clashes(self.dataset_fields.values())

    @property
    def dataset_fields(self) -> dict[str, DatasetField]:
        """Field name → what the task reads or writes, with the Dataset class of the configured name."""
        found: FrozenDict[str, DatasetField] | None = self.__dict__.get("_dataset_fields")
        if found is None:
            found = FrozenDict(
                {
                    name: attrs.evolve(declared.kind.template, dataset_type=getattr(self, name))
                    for name, declared in self.config_fields.items()
                    if isinstance(declared.kind, DatasetKind)
                }
            )
            # Asked for with every quantum, and a configuration does not change.
            self.__dict__["_dataset_fields"] = found
        return found

    def fields_of(self, *roles: FieldRole) -> dict[str, DatasetField]:
        """Return the dataset fields of some roles by name."""
        return {name: f for name, f in self.dataset_fields.items() if f.role in roles}

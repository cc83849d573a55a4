"""Unit models by name, from files, and as plain data.

`imaging` and `spectra` ship; a user's own is a short YAML file, or a Python file that defines
``model``; a package offers its own through the entry point group ``supertask.unit_models``.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from supertask.errors import Problems, SuperTaskError, UnitModelError, did_you_mean
from supertask.units import FieldKind, KeyKind, Relation, RelationKind, Unit, UnitField, UnitModel
from supertask.yamlfiles.nodes import Document, YamlError

__all__ = [
    "ENTRY_POINT_GROUP",
    "known_unit_models",
    "load_unit_model",
    "unit_model_from_dict",
    "unit_model_to_dict",
]

ENTRY_POINT_GROUP = "supertask.unit_models"
"""Each entry point is a `UnitModel`, or a function without arguments that returns one."""

_SHIPPED = ("imaging", "spectra")
_SUFFIXES = (".yaml", ".yml", ".py")

E = TypeVar("E", bound=enum.Enum)


def known_unit_models() -> tuple[str, ...]:
    """Return the names that `load_unit_model` knows: those shipped, then those of other packages."""
    from importlib.metadata import entry_points

    others = sorted({e.name for e in entry_points(group=ENTRY_POINT_GROUP)} - set(_SHIPPED))
    return (*_SHIPPED, *others)


def load_unit_model(source: str | Path | UnitModel) -> UnitModel:
    """Return a unit model.

    Parameters
    ----------
    source : str or pathlib.Path or UnitModel
        The name of a model, the path of a ``.yaml`` file, the path of a ``.py`` file that defines
        ``model`` (it is run, so name only files that you trust), or a model itself.

    Raises
    ------
    UnitModelError
        There is no such model or file, or it is not valid; names every mistake found.
    """
    if isinstance(source, UnitModel):
        return source
    path = Path(source)
    if isinstance(source, Path) or path.suffix in _SUFFIXES or len(path.parts) > 1:
        return _from_file(path)
    if source in _SHIPPED:
        import importlib.resources

        from supertask.yamlfiles.text import load

        text = (importlib.resources.files("supertask") / "models" / f"{source}.yaml").read_text("utf-8")
        return _from_document(load(text, f"{source}.yaml"))
    from importlib.metadata import entry_points

    for entry in entry_points(group=ENTRY_POINT_GROUP, name=source):
        found = entry.load()
        model = found if isinstance(found, UnitModel) else found()
        if not isinstance(model, UnitModel):
            raise UnitModelError(f"entry point {entry.value!r} gives no UnitModel but {model!r}")
        return model
    known = known_unit_models()
    raise UnitModelError(
        f"there is no unit model {source!r}{did_you_mean(source, known)}; known are {', '.join(known)}, "
        "or give the path of a .yaml or .py file"
    )


def _from_file(path: Path) -> UnitModel:
    if not path.is_file():
        raise UnitModelError(f"there is no file {path} to read a unit model from")
    if path.suffix in (".yaml", ".yml"):
        from supertask.yamlfiles.text import load_file

        try:
            return _from_document(load_file(path))
        except YamlError as error:
            raise UnitModelError(str(error)) from None
    if path.suffix != ".py":
        raise UnitModelError(f"{path}: a unit model is a .yaml or a .py file")
    import importlib.util

    spec = importlib.util.spec_from_file_location(f"_unit_model_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UnitModelError(f"{path} cannot be run as Python")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except SuperTaskError as error:
        raise UnitModelError(f"{path}: {error}") from error
    except Exception as error:
        raise UnitModelError(f"{path} cannot be run: {type(error).__name__}: {error}") from error
    model = getattr(module, "model", None)
    if not isinstance(model, UnitModel):
        raise UnitModelError(f"{path} does not define 'model' as a UnitModel")
    return model


def _from_document(document: Document) -> UnitModel:
    return _structure(document.value, document.source, lambda *path: f"{document.at(*path)}: ")


def unit_model_from_dict(d: Mapping[str, Any]) -> UnitModel:
    """Return the model that plain data describes: the inverse of `unit_model_to_dict`.

    Raises
    ------
    UnitModelError
        Names every mistake found.
    """
    return _structure(d, "unit model", lambda *path: f"{'.'.join(map(str, path))}: " if path else "")


def unit_model_to_dict(model: UnitModel) -> dict[str, Any]:
    """Return a model as plain data, fit for JSON and YAML; what is empty is left out."""
    units: dict[str, Any] = {}
    for unit in model.units:
        fields = {
            f.name: _filled(kind=f.kind.value, unit=f.unit, doc=f.doc) if f.unit or f.doc else f.kind.value
            for f in unit.fields
        }
        units[unit.name] = _filled(
            key=unit.key.value,
            parents=list(unit.parents),
            implies=list(unit.implies),
            doc=unit.doc,
            fields=fields,
        )
    relations = {
        r.name: _filled(kind=r.kind.value, left=list(r.left), right=list(r.right), doc=r.doc)
        for r in model.relations
    }
    return _filled(name=model.name, version=model.version, doc=model.doc, units=units, relations=relations)


def _filled(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value not in ("", [], {})}


At = Callable[..., str]


class _Section:
    """One mapping of the file, read key by key; notes what is missing, unknown or ill-typed."""

    def __init__(
        self, value: Any, path: tuple[str, ...], at: At, problems: Problems, known: Iterable[str]
    ) -> None:
        self.path = path
        self._at = at
        self._problems = problems
        self._what = ".".join(path) or "a unit model"
        self._values: Mapping[Any, Any] = {}
        if not isinstance(value, Mapping):
            self.note(f"{self._what} must be a mapping, got {value!r}")
            return
        self._values = value
        known = tuple(known)
        for key in value:
            if key not in known:
                self.note(
                    f"unknown key {key!r}{did_you_mean(str(key), known)}; known are {', '.join(known)}", key
                )

    def note(self, message: str, *keys: Any) -> None:
        self._problems.add(self._at(*self.path, *keys) + message)

    def text(self, key: str) -> str:
        value = self._values.get(key, "")
        if not isinstance(value, str):
            self.note(f"{key!r} must be text, got {value!r}", key)
            return ""
        return value

    def integer(self, key: str, default: int) -> int:
        value = self._values.get(key, default)
        if type(value) is not int:
            self.note(f"{key!r} must be an int, got {value!r}", key)
            return default
        return value

    def words(self, key: str) -> tuple[str, ...]:
        """Return a list of words; a single word may stand for itself."""
        value = self._values.get(key, ())
        if isinstance(value, str):
            return (value,)
        if not isinstance(value, list | tuple) or not all(isinstance(v, str) for v in value):
            self.note(f"{key!r} must be a list of names, got {value!r}", key)
            return ()
        return tuple(value)

    def choice(self, key: str, kinds: type[E], default: E) -> E:
        value = self._values.get(key, default.value)
        try:
            return kinds(value)
        except ValueError:
            words = [str(k.value) for k in kinds]
            self.note(
                f"{key!r} must be one of {', '.join(words)}, got {value!r}{did_you_mean(str(value), words)}",
                key,
            )
            return default

    def sections(self, key: str) -> Iterable[tuple[str, Any]]:
        value = self._values.get(key)
        if value is None:
            return
        if not isinstance(value, Mapping):
            self.note(f"{key!r} must be a mapping from names, got {value!r}", key)
            return
        for name, part in value.items():
            if isinstance(name, str):
                yield name, part
            else:
                self.note(f"{name!r} is no name: quote it if it is meant as one", key, name)


def _structure(value: Any, source: str, at: At) -> UnitModel:
    problems = Problems(source)
    top = _Section(value, (), at, problems, ("name", "version", "doc", "units", "relations"))
    name = top.text("name")
    if not name and isinstance(value, Mapping):
        top.note("'name' is missing")
    version, doc = top.integer("version", 1), top.text("doc")
    units = tuple(_unit(n, v, at, problems) for n, v in top.sections("units"))
    relations = tuple(_relation(n, v, at, problems) for n, v in top.sections("relations"))
    try:
        model = UnitModel(name or "?", units, relations, version, doc)
    except UnitModelError as error:
        # The model's own checks speak of units by name; they join the list of the file's mistakes.
        problems.take(error)
        problems.raise_if_any(UnitModelError)
        raise
    problems.raise_if_any(UnitModelError)
    return model


def _unit(name: str, value: Any, at: At, problems: Problems) -> Unit:
    path = ("units", name)
    if value is None:
        value = {}
    section = _Section(value, path, at, problems, ("key", "parents", "implies", "fields", "doc"))
    fields = []
    for field, part in section.sections("fields"):
        given = {"kind": part} if isinstance(part, str) else part
        sub = _Section(given, (*path, "fields", field), at, problems, ("kind", "unit", "doc"))
        kind = sub.choice("kind", FieldKind, FieldKind.STR)
        fields.append(UnitField(field, kind, sub.text("unit"), sub.text("doc")))
    return Unit(
        name,
        section.choice("key", KeyKind, KeyKind.INT),
        section.words("parents"),
        section.words("implies"),
        tuple(fields),
        section.text("doc"),
    )


def _relation(name: str, value: Any, at: At, problems: Problems) -> Relation:
    section = _Section(value, ("relations", name), at, problems, ("kind", "left", "right", "doc"))
    return Relation(
        name,
        section.words("left"),
        section.words("right"),
        section.choice("kind", RelationKind, RelationKind.GIVEN),
        section.text("doc"),
    )

r"""The declared translator: a short YAML file that says which card gives which unit and field.

::

    name: kast
    hdu: first                       # or whole, all, a number, an EXTNAME, a list of these
    values:
      instrument: ShaneKast          # a constant
      detector: 0
      exposure: {file: 'b(\d+)'}
      exposure.obs_type: {card: OBJECT, map: {'*bias*': bias, '*arc*': arc, '*flat*': flat, '*': science}}
      exposure.obs_time: {card: DATE, plus: [exposure.exposure_time, -0.5]}
      exposure.exposure_time: {card: [EXPTIME, ITIME]}
      exposure.ra: {card: RA, to: hours, default: null}
      physical_filter: {card: GRISM_N, when: {exposure.obs_type: [science, flat]}}
      band: {from: physical_filter, map: {600/4310: blue}}
      visit: {from: exposure, when: {exposure.obs_type: science}}
    datasets:
      - {type: raw, units: [exposure, detector], storage: fits_image}

A value's rule is a constant, a mapping (see `supertask.ingest.rules`), or a list of mappings of which
the first that finds something counts. A value that is not found, and has no default, refuses the
file. Fields of an implied unit (a visit's) are taken from the unit that implies it where it has
fields of those names.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from supertask.datasets import Dataset
from supertask.errors import DataIdError, IngestError, Problems, did_you_mean
from supertask.ingest.fitsfile import FitsFile, Hdu
from supertask.ingest.frames import Combine, Frame
from supertask.ingest.rules import BadValueError, Kind, Rule, Scope, fits_any
from supertask.ingest.yaml_rules import read_rules
from supertask.units import FieldKind, KeyKind, UnitModel
from supertask.yamlfiles.text import YamlError, load, load_file

__all__ = ["DatasetRule", "HeaderTranslator"]

_KEY_KINDS = {KeyKind.INT: Kind.INT, KeyKind.STR: Kind.STR, KeyKind.DATE: Kind.DATE}
_FIELD_KINDS = {
    FieldKind.INT: Kind.INT,
    FieldKind.FLOAT: Kind.FLOAT,
    FieldKind.STR: Kind.STR,
    FieldKind.BOOL: Kind.BOOL,
    FieldKind.TIME: Kind.TIME,
}


@attrs.frozen
class DatasetRule:
    """Which frames are of which dataset type."""

    dataset_type: type[Dataset] | None
    """None for frames that are to be passed over."""
    when: Mapping[str, tuple[Any, ...]] = attrs.field(factory=dict)
    """Values and the shell patterns that they must fit; the first rule that fits decides."""


@attrs.frozen
class HeaderTranslator:
    """A translator that is declared, not programmed. See the module's docstring."""

    name: str
    rules: Mapping[str, tuple[Rule, ...]]
    """``unit`` or ``unit.field`` → rules, the first that finds something counts."""
    datasets: tuple[DatasetRule, ...]
    hdu: tuple[str | int, ...] = ("first",)
    wcs: str = "header"
    """``header``, ``none``, or a path beside the file such as ``wcs/{stem}.wcs``."""
    ignore_cards: tuple[str, ...] = ()
    combine: Mapping[str, Combine] = attrs.field(factory=dict)
    doc: str = ""

    @classmethod
    def from_yaml(cls, source: str | Path) -> HeaderTranslator:
        """Read one from YAML text, or from the file of a path.

        Raises
        ------
        IngestError
            It is not valid; names every mistake found, each with its line.
        """
        try:
            is_text = isinstance(source, str) and "\n" in source
            document = load(str(source), "translator") if is_text else load_file(source)
        except YamlError as error:
            raise IngestError(f"this is no translator: {error}") from None
        given = read_rules(document)
        return cls(
            name=given.name,
            rules=given.rules,
            datasets=tuple(
                DatasetRule(Dataset.subclass(d.name, d.units, d.storage, d.doc) if d.name else None, d.when)
                for d in given.datasets
            ),
            hdu=given.hdu,
            wcs=given.wcs,
            ignore_cards=given.ignore_cards,
            combine=given.combine,
            doc=given.doc,
        )

    @property
    def dataset_types(self) -> dict[str, type[Dataset]]:
        """Name → type of all that it may find."""
        return {d.dataset_type.name: d.dataset_type for d in self.datasets if d.dataset_type is not None}

    def check(self, model: UnitModel) -> None:
        """Check that it fits a unit model; see `Translator.check`."""
        problems = Problems(f"translator {self.name!r} with unit model {model.name!r}")
        units = {name.partition(".")[0] for name in self.rules}
        for name in self.rules:
            try:
                self._kind(name, model)
            except IngestError as error:
                problems.add(str(error))
        for name in [*self.combine, *(n for d in self.datasets for n in d.when)]:
            if name not in self.rules and name not in _inherited(self.rules, model):
                problems.add(f"{name!r} has no rule{did_you_mean(name, self.rules)}")
        for unit in sorted(units & set(model.names)):
            lacking = [u for u in model.closure([unit]) if u not in self.rules]
            if lacking:
                problems.add(f"{unit!r} needs a rule for {', '.join(lacking)}")
        for dataset_type in self.dataset_types.values():
            try:
                lacking = [u for u in model.closure(dataset_type.units) if u not in self.rules]
            except DataIdError as error:
                problems.add(f"dataset type {dataset_type.name!r}: {error}")
                continue
            if lacking:
                problems.add(f"dataset type {dataset_type.name!r} needs a rule for {', '.join(lacking)}")
        problems.raise_if_any(IngestError)

    @staticmethod
    def _kind(name: str, model: UnitModel) -> Kind:
        unit_name, _, field_name = name.partition(".")
        if unit_name not in model:
            raise IngestError(f"there is no unit {unit_name!r}{did_you_mean(unit_name, model.names)}")
        unit = model.unit(unit_name)
        if not field_name:
            return _KEY_KINDS[unit.key]
        field = unit.field(field_name)
        if field is None:
            known = [f.name for f in unit.fields]
            raise IngestError(
                f"unit {unit_name!r} has no field {field_name!r}{did_you_mean(field_name, known)}; "
                f"it has {', '.join(known) or 'none'}"
            )
        return _FIELD_KINDS[field.kind]

    def frames(self, file: FitsFile, model: UnitModel) -> list[Frame]:
        """Return what a file holds; see `Translator.frames`."""
        found = []
        problems: list[str] = []
        for hdu, fragment in self._hdus(file):
            try:
                values = self._values(file, hdu, model)
                rule = self._dataset(values)
            except IngestError as error:
                problems.append(f"HDU {hdu.index}: {error}" if fragment else str(error))
                continue
            if rule.dataset_type is not None:
                wcs = self.wcs
                if wcs not in ("header", "none"):
                    wcs = _beside(file.path, wcs)
                found.append(Frame(rule.dataset_type.name, values, hdu.index, fragment, wcs))
        if problems:
            raise IngestError("; ".join(problems))
        return found

    def _hdus(self, file: FitsFile) -> list[tuple[Hdu, bool]]:
        """Return the HDUs that hold frames, and whether locations must name them."""
        chosen: list[tuple[Hdu, bool]] = []
        first = file.images[0] if file.images else None
        for word in self.hdu:
            if word == "whole":
                chosen.append((file.hdus[0], False))
            elif word == "all":
                chosen += ((h, True) for h in file.images)
            elif word == "first":
                if first is None:
                    raise IngestError("no HDU holds an image")
                chosen.append((first, False))
            else:
                named = [h for h in file.hdus if (h.index if isinstance(word, int) else h.name) == word]
                if not named:
                    names = ", ".join(f"{h.index} {h.name}".strip() for h in file.hdus[:20])
                    raise IngestError(f"there is no HDU {word!r}; the file has {names}")
                chosen.append((named[0], named[0] is not first or len(self.hdu) > 1))
        if not chosen:
            raise IngestError("no HDU holds an image")
        return chosen

    def _values(self, file: FitsFile, hdu: Hdu, model: UnitModel) -> dict[str, Any]:
        """Work out all values, each once, those first that others rest on."""
        values: dict[str, Any] = {}
        refused: dict[str, str] = {}

        def value(name: str) -> Any:
            if name in refused:
                raise BadValueError(f"{name} is not known")
            if name not in values:
                try:
                    values[name] = _first_of(self.rules[name], scope, self._kind(name, model))
                except BadValueError as error:
                    refused[name] = str(error)
                    raise
            return values[name]

        scope = Scope(file, hdu, value)
        for name in self.rules:
            if name not in refused:
                try:
                    value(name)
                except BadValueError:
                    continue
        if refused:
            raise IngestError("; ".join(f"{name}: {why}" for name, why in refused.items()))
        for name, origin in _inherited(self.rules, model).items():
            values[name] = values[origin]
        return values

    def _dataset(self, values: Mapping[str, Any]) -> DatasetRule:
        for rule in self.datasets:
            if all(fits_any(values[name], patterns) for name, patterns in rule.when.items()):
                return rule
        stated = sorted({name for rule in self.datasets for name in rule.when})
        shown = ", ".join(f"{name}={values[name]}" for name in stated)
        raise IngestError(f"no dataset type is declared for {shown}")


def _inherited(rules: Mapping[str, Any], model: UnitModel) -> dict[str, str]:
    """Return fields of implied units that no rule gives → the field that they are taken from."""
    found: dict[str, str] = {}
    for unit in model:
        for implied in unit.implies:
            if unit.name not in rules or implied not in rules:
                continue
            for field in model.unit(implied).fields:
                ours, theirs = f"{unit.name}.{field.name}", f"{implied}.{field.name}"
                known = unit.field(field.name)
                if known and known.kind is field.kind and ours in rules and theirs not in rules:
                    found[theirs] = ours
    return found


def _first_of(rules: Sequence[Rule], scope: Scope, wanted: Kind) -> Any:
    reasons: list[str] = []
    for rule in rules:
        try:
            found = rule.find(scope, wanted)
        except BadValueError as error:
            reasons.append(str(error))
            continue
        if found is not None or len(rules) == 1:
            return found
    if reasons:
        raise BadValueError("; ".join(reasons))
    return None


def _beside(path: str, template: str) -> str:
    folder, name = os.path.split(path)
    stem = name
    while Path(stem).suffix.lower() in (".gz", ".fz", ".fits", ".fit", ".fts"):
        stem = stem[: -len(Path(stem).suffix)]
    return os.path.join(folder, template.replace("{stem}", stem).replace("{name}", name))

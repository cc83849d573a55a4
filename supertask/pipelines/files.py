"""Pipeline files: labelled tasks, and what belongs to them, in YAML.

    description: From raw frames to reduced ones.
    parameters: {threshold: 5.0}    # configurations refer to it as $threshold
    imports:
      - location: common.yaml       # relative to this file, or mypackage:pipelines/common.yaml
        exclude: [forced]
        rename: {detect: detect_stars}
    tasks:
      isr:
        class: mypackage.isr:IsrTask
        config:
          saturation: 60000.0
          detect.threshold: $threshold    # a field of a nested configuration or of a subtask
      calibrate: mypackage.calibrate:CalibrateTask    # as it comes
      detect_stars:
        config: {deblend: false}    # an imported task, some of it changed
        overrides:                  # for some data; see `supertask.pipelines.dataoverrides`
          - when: {band: [g, r]}
            config: {deblend: true}
    cameras: [HSC]                  # take in what the package of this camera says for its data
    subsets:
      frames: [isr, calibrate]      # selected as file.yaml#frames
    steps: [frames]
    contracts:
      - contract: isr.image == calibrate.image
        message: both must speak of one image
    retention:                      # how long datasets stay: keep (unless said), until-used, on-failure
      postisr: until-used
      "*_mask": on-failure

Parameters, subsets and tasks of the file stand over those of its imports. Every mistake is named at once,
each with file, line and column. The shape is published as a JSON Schema, `models/pipeline.schema.json`.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs

from supertask.classpath import ClassPathError, load_class
from supertask.errors import ConfigError, ExpressionError, PipelineError, Problems, did_you_mean
from supertask.kinds.base import INVALID, MISSING
from supertask.pipelines.cameraoverrides import camera_overrides, read_entries
from supertask.pipelines.contracts import make_contract
from supertask.pipelines.dataoverrides import DataOverride, anchored, applied
from supertask.pipelines.parameters import Given, Parameter, has_references, make_parameter, resolve
from supertask.pipelines.parts import Content, Step, Subset, merged, selected, taken_in
from supertask.pipelines.retention import Retained, laid_over, make_retained
from supertask.pipelines.schema import load_schema, numbered, shown, well_formed
from supertask.pipelines.taskdefs import TaskDef, check_label
from supertask.tasks.supertask import SuperTask
from supertask.yamlfiles.text import Document, YamlError, load_file

__all__ = ["imported", "load", "read", "split_location", "split_overrides"]

_PLACED = re.compile(r"[^\n]*?:[0-9]+:[0-9]+: ")


def split_location(location: str | Path) -> tuple[str, list[str]]:
    """Return the file and the words after ``#`` of ``file.yaml#subset,label``."""
    text = str(location)
    file, mark, words = text.rpartition("#")
    if not mark or Path(text).exists():
        return text, []
    return file, [word.strip() for word in words.split(",") if word.strip()]


def split_overrides(overrides: Iterable[str]) -> tuple[dict[str, Given], list[str]]:
    """Return the values that overrides give parameters (``parameters:name=value``), and the others."""
    given: dict[str, Given] = {}
    others: list[str] = []
    for text in overrides:
        label, _, rest = text.partition(":")
        name, equals, value = rest.partition("=")
        if label == "parameters" and equals:
            given[name.strip()] = Given(value.strip(), text, text=True)
        else:
            others.append(text)
    return given, others


def load(path: str | Path, given: Mapping[str, Given] | None = None, above: tuple[str, ...] = ()) -> Content:
    """Read a pipeline file, or the part of it that ``file.yaml#subset`` names.

    Parameters
    ----------
    path : str or Path
        The file.
    given : Mapping, optional
        Values for parameters.
    above : tuple of str, optional
        The files that import it, the first of them first.

    Raises
    ------
    PipelineError
        Names everything that is wrong, with file, line and column.
    """
    file, words = split_location(path)
    try:
        document = load_file(file)
    except YamlError as error:
        raise PipelineError(str(error)) from None
    content = read(document, Path(file).parent, given, (*above, file))
    return selected(content, words) if words else content


def imported(document: Document, folder: Path, given: Mapping[str, Given], above: tuple[str, ...]) -> Content:
    """Return what the imports of a document bring, by themselves.

    Raises
    ------
    PipelineError
        Names everything that is wrong with them.
    """
    problems = Problems(document.source)
    shape = well_formed(document, load_schema("pipeline"), Problems(""))
    content = Content()
    rules = shape.get("imports", ()) if isinstance(shape, Mapping) else ()
    for i, rule in numbered(rules):
        at = document.at("imports", i)
        fields = {"location": rule} if isinstance(rule, str) else dict(rule)
        try:
            file = _locate(fields.pop("location"), folder)
            whole = split_location(file)[0]
            loop = [a for a in above if Path(a).resolve() == Path(whole).resolve()]
            if loop:
                chain = [*above[above.index(loop[0]) :], whole]
                problems.add(f"{at}: imports form a loop: {' -> '.join(chain)}")
                continue
            other = load(file, given, above)
        except PipelineError as error:
            # What is wrong inside has its own place; what is wrong with the location has this one.
            for problem in error.problems or (str(error),):
                problems.add(problem if _PLACED.match(problem) else f"{at}: {problem}")
            continue
        # What the file says itself settles what imports disagree on.
        theirs = {n: r for n, r in other.retention.items() if n not in shape.get("retention", {})}
        try:
            content = merged(content, taken_in(attrs.evolve(other, retention=theirs), **fields))
        except PipelineError as error:
            problems.take(error, f"{at}: import of {file}: ")
    problems.raise_if_any(PipelineError)
    return content


def _locate(location: str, folder: Path) -> str:
    """Return the file that an import names: relative to a folder, or ``package:path``."""
    package, colon, inner = location.partition(":")
    if not colon or not all(part.isidentifier() for part in package.split(".")):
        return str(folder / location)
    try:
        spec = importlib.util.find_spec(package)
    except ModuleNotFoundError:
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise PipelineError(f"import of {location!r}: there is no package {package!r}; is it installed?")
    return str(Path(next(iter(spec.submodule_search_locations))) / inner)


def read(
    document: Document,
    folder: Path | None = None,
    given: Mapping[str, Given] | None = None,
    above: tuple[str, ...] = (),
) -> Content:
    """Return what a document says.

    Parameters
    ----------
    document : Document
        The document.
    folder : Path, optional
        What locations of imports are relative to; the current folder unless given.
    given : Mapping, optional
        Values for parameters, which stand over the document's own.
    above : tuple of str, optional
        The file itself, after those that import it.

    Raises
    ------
    PipelineError
        Names everything that is wrong with it.
    """
    problems = Problems(document.source)
    top = document.value
    if not isinstance(top, Mapping):
        what = "nothing" if top is None else shown(top)
        problems.add(f"{document.at()}: a pipeline must be a mapping with a key 'tasks', got {what}")
        problems.raise_if_any(PipelineError)
    shape = well_formed(document, load_schema("pipeline"), problems)
    reading = _Reading(document, problems, dict(given or {}))
    own = reading.parameters(shape.get("parameters", {}))
    base = Content()
    try:
        base = imported(document, folder or Path(), reading.values(own), above)
    except PipelineError as error:
        problems.take(error)
    parameters = reading.settled(own, base.parameters)
    if not above[:-1]:
        reading.complete(parameters)
    tasks, references = reading.tasks(shape.get("tasks", {}), base, parameters)
    labels = [*tasks, *(label for label in shape.get("tasks", ()) if label not in tasks)]
    subsets = {**base.subsets, **reading.subsets(shape.get("subsets", {}), labels)}
    steps = reading.steps(shape.get("steps", ()), subsets) if "steps" in shape else base.steps
    contracts = reading.contracts(shape.get("contracts", ()))
    cameras = [c for c in shape.get("cameras", ()) if c not in base.cameras]
    overrides = reading.overrides(shape.get("tasks", {}), base, tasks, parameters)
    overrides += reading.of_cameras(cameras, tasks, parameters)
    retention = reading.retention(shape.get("retention", {}))
    problems.raise_if_any(PipelineError)
    return Content(
        shape.get("description", ""),
        tuple(tasks.values()),
        parameters,
        subsets,
        steps,
        (*base.contracts, *(c for c in contracts if c not in base.contracts)),
        references,
        tuple(overrides),
        (*base.cameras, *cameras),
        laid_over(base.retention, retention),
    )


class _Reading:
    """One reading of one document."""

    def __init__(self, document: Document, problems: Problems, given: dict[str, Given]) -> None:
        self.document = document
        self.problems = problems
        self.given = given

    # -- parameters ---------------------------------------------------------------------------

    def parameters(self, section: Mapping[Any, Any]) -> dict[str, Parameter | Given]:
        """Return what the file says of parameters: declarations, and bare values."""
        found: dict[str, Parameter | Given] = {}
        for name, said in section.items():
            at = self.document.at("parameters", name)
            if not isinstance(said, Mapping):
                found[name] = Given(said, at)
                continue
            fields = dict(said)
            try:
                found[name] = make_parameter(str(name), fields.pop("default", MISSING), source=at, **fields)
            except PipelineError as error:
                self.problems.take(error, f"{at}: ")
        return found

    def values(self, own: Mapping[str, Parameter | Given]) -> dict[str, Given]:
        """Return the values that imported files are given."""
        values = {
            name: said
            if isinstance(said, Given)
            else Given(said.declared.kind.plain(said.value), said.source)
            for name, said in own.items()
            if isinstance(said, Given) or said.value is not MISSING
        }
        return {**values, **self.given}

    def settled(
        self, own: Mapping[str, Parameter | Given], inherited: Mapping[str, Parameter]
    ) -> dict[str, Parameter]:
        """Return all parameters with their values."""
        made = dict(inherited)
        for name, said in own.items():
            try:
                if isinstance(said, Parameter):
                    made[name] = said
                elif name not in made:
                    made[name] = make_parameter(name, said.value, source=said.source)
                if name in self.given:
                    made[name] = made[name].given(self.given[name])
            except PipelineError as error:
                source = self.given[name].source if name in self.given and name in made else said.source
                self.problems.take(error, f"{source}: ")
        return made

    def complete(self, parameters: Mapping[str, Parameter]) -> None:
        """Note parameters that have no value, and values that no parameter takes."""
        for parameter in parameters.values():
            if parameter.value is MISSING:
                self.problems.add(
                    f"{parameter.source}: parameter {parameter.name!r} has no default, so it must be given: "
                    f"-c parameters:{parameter.name}=…, or under 'parameters' of a file that imports this"
                )
        for name, given in self.given.items():
            if name not in parameters:
                self.problems.add(
                    f"{given.source}: the pipeline has no parameter {name!r}"
                    f"{did_you_mean(name, parameters)}; it has {', '.join(parameters) or 'none'}"
                )

    # -- tasks --------------------------------------------------------------------------------

    def tasks(
        self, section: Mapping[Any, Any], base: Content, parameters: Mapping[str, Parameter]
    ) -> tuple[dict[str, TaskDef], dict[str, dict[str, Any]]]:
        """Return all tasks, and which of their values refer to parameters."""
        made = {t.label: t for t in base.tasks}
        references = {label: dict(found) for label, found in base.references.items()}
        for label, value in section.items():
            fields: Mapping[str, Any] = {"class": value} if isinstance(value, str) else value
            task = self._task(label, fields, made.get(label), parameters)
            if task is None:
                continue
            made[label] = task
            found = references.pop(label, {}) if "class" not in fields else {}
            values: Mapping[str, Any] = fields.get("config") or {}
            found = {path: v for path, v in found.items() if path not in values}
            found.update((path, v) for path, v in values.items() if has_references(v))
            if found:
                references[label] = found
        return made, references

    def _task(
        self, label: Any, fields: Mapping[str, Any], old: TaskDef | None, parameters: Mapping[str, Parameter]
    ) -> TaskDef | None:
        """Return one task, or None with its problems noted."""
        document, problems = self.document, self.problems
        path = ("tasks", label)
        before = len(problems)
        try:
            check_label(label)
        except PipelineError as error:
            problems.take(error, f"{document.at(*path)}: ")
        base = None
        if "class" in fields:
            try:
                task_class = load_class(fields["class"], SuperTask)
            except ClassPathError as error:
                problems.take(error, f"{document.at(*path, 'class')}: task {label!r}: ")
                return None
        elif old is not None:
            task_class, base = old.task_class, old.config
        else:
            problems.add(
                f"{document.at(*path)}: task {label!r} needs 'class', a path as package.module:Class"
            )
            return None
        given: Mapping[str, Any] = fields.get("config") or {}
        resolved = {key: self._resolved(v, (*path, "config", key), parameters) for key, v in given.items()}
        values = {key: v for key, v in resolved.items() if v is not INVALID}
        at_task = f"{document.at(*path, 'config')}: task {label!r}: "
        try:
            config = task_class.ConfigClass.overlaid(values, document, (*path, "config"), base)
        except ConfigError as error:
            for problem in error.problems or (str(error),):
                # What has no place of its own (a cross-check) gets that of the task's configuration.
                problems.add(problem if problem.startswith(f"{document.source}:") else at_task + problem)
            return None
        return TaskDef(label, task_class, config) if len(problems) == before else None

    def _resolved(self, value: Any, path: tuple[Any, ...], parameters: Mapping[str, Parameter]) -> Any:
        at = self.document.at(*path)
        return resolve(value, parameters, lambda message: self.problems.add(f"{at}: {message}"))

    # -- overrides ----------------------------------------------------------------------------

    def overrides(
        self,
        section: Mapping[Any, Any],
        base: Content,
        tasks: Mapping[str, TaskDef],
        parameters: Mapping[str, Parameter],
    ) -> list[DataOverride]:
        """Return the overrides of imports, and after them the file's own."""
        anew = {label for label, said in section.items() if isinstance(said, str) or "class" in said}
        found = [o for o in base.overrides if o.label not in anew]
        for label, said in section.items():
            entries = said.get("overrides", ()) if isinstance(said, Mapping) else ()
            path = ("tasks", label, "overrides")
            own = read_entries(self.document, label, entries, path, self.problems)
            found += self._tried(own, tasks, parameters)
        return found

    def of_cameras(
        self, cameras: Iterable[str], tasks: Mapping[str, TaskDef], parameters: Mapping[str, Parameter]
    ) -> list[DataOverride]:
        """Return what the packages of cameras say of tasks that are here."""
        found: list[DataOverride] = []
        for camera in cameras:
            i = self.document.value["cameras"].index(camera)
            try:
                own = [o for o in camera_overrides(camera) if o.label in tasks]
            except PipelineError as error:
                self.problems.take(error, f"{self.document.at('cameras', i)}: ")
                continue
            found += self._tried(own, tasks, parameters)
        return found

    def _tried(
        self,
        overrides: Iterable[DataOverride],
        tasks: Mapping[str, TaskDef],
        parameters: Mapping[str, Parameter],
    ) -> list[DataOverride]:
        """Return overrides whose paths are whole; what is wrong with their values is noted."""
        found = []
        for override in overrides:
            if override.label not in tasks:
                continue
            try:
                variant = applied(tasks[override.label], override, parameters)
                found.append(anchored(override, variant))
            except (ConfigError, PipelineError) as error:
                at = f"{override.source}: override of {override.label!r}: "
                for problem in error.problems or (str(error),):
                    self.problems.add(problem if _PLACED.match(problem) else at + problem)
        return found

    # -- the rest -----------------------------------------------------------------------------

    def subsets(self, section: Mapping[Any, Any], labels: Iterable[str]) -> dict[str, Subset]:
        """Return the file's own subsets."""
        known = list(labels)
        found = {}
        for name, said in section.items():
            fields = said if isinstance(said, Mapping) else {"labels": said}
            inside = ("labels",) if isinstance(said, Mapping) else ()
            for i, label in numbered(fields["labels"]):
                if label not in known:
                    self.problems.add(
                        f"{self.document.at('subsets', name, *inside, i)}: subset {name!r}: the pipeline has "
                        f"no task {label!r}{did_you_mean(label, known)}; it has {', '.join(known) or 'none'}"
                    )
            if name in known:
                self.problems.add(
                    f"{self.document.at('subsets', name)}: {name!r} is the label of a task, so no subset "
                    "can have that name"
                )
            found[name] = Subset(tuple(fields["labels"]), fields.get("description", ""))
        return found

    def steps(self, section: Iterable[Any], subsets: Mapping[str, Subset]) -> tuple[Step, ...]:
        """Return the file's own steps."""
        found = []
        for i, said in numbered(section):
            fields = said if isinstance(said, Mapping) else {"subset": said}
            if fields["subset"] not in subsets:
                self.problems.add(
                    f"{self.document.at('steps', i)}: the pipeline has no subset {fields['subset']!r}"
                    f"{did_you_mean(fields['subset'], subsets)}; it has {', '.join(subsets) or 'none'}"
                )
            found.append(Step(fields["subset"], tuple(fields.get("units", ()))))
        return tuple(found)

    def contracts(self, section: Iterable[Any]) -> list[Any]:
        """Return the file's own contracts."""
        found = []
        for i, said in numbered(section):
            fields = said if isinstance(said, Mapping) else {"contract": said}
            at = self.document.at("contracts", i)
            try:
                found.append(make_contract(fields["contract"], fields.get("message", ""), at))
            except ExpressionError as error:
                self.problems.add(f"{at}: {error}")
        return found

    def retention(self, section: Mapping[str, str]) -> dict[str, Retained]:
        """Return what the file itself says of how long datasets stay."""
        found = {}
        for name, policy in section.items():
            at = self.document.at("retention", name)
            try:
                found[name] = make_retained(name, policy, at)
            except PipelineError as error:
                self.problems.take(error, f"{at}: ")
        return found

"""A pipeline file rewritten after an edit in Python, its comments and its order kept.

Only what changed is touched: a value that is the same keeps the words, the quotes and the remarks that it was
written with, and a field of a nested configuration is set where the file sets it.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from supertask.configs.base import ConfigBase
from supertask.configs.fields import Configurable
from supertask.configs.overrides import parse_path
from supertask.errors import PipelineError, SuperTaskError
from supertask.kinds.base import MISSING
from supertask.pipelines.dataoverrides import DataOverride, FilePlace, anchored, applied, from_plain, plain
from supertask.pipelines.files import imported, read, split_location
from supertask.pipelines.files import load as load_pipeline
from supertask.pipelines.parameters import Given, escape
from supertask.pipelines.parts import Content
from supertask.pipelines.taskdefs import TaskDef
from supertask.pipelines.writing import write
from supertask.yamlfiles.text import load, load_file

__all__ = ["Origin", "edited", "read_origin", "says"]


@attrs.frozen
class Origin:
    """The file that a pipeline was read from, as it was then."""

    file: str
    text: str
    content: Content
    """What it says, with its imports."""
    imported: Content
    """What its imports bring, by themselves."""


def edited(origin: Origin, new: Content, target: Path) -> str:
    """Return the text of the file with the changes between what was read and `new`.

    Parameters
    ----------
    origin : Origin
        The file, and what was read from it.
    new : Content
        What the text is to say.
    target : Path
        Where it will be written; locations of imports follow.
    """
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    tree = yaml.load(origin.text)
    old = origin.content
    _set(tree, "description", new.description, old.description)
    _sections(tree, old, new, origin.imported)
    _imports(tree, new, origin, target)
    _tasks(tree, old, new, origin.imported)
    _overrides(tree, new, origin, target)
    out = io.StringIO()
    yaml.dump(tree, out)
    return out.getvalue()


def _set(node: Any, key: str, value: Any, old: Any) -> None:
    """Set a key unless it is what it was; take it out if it is empty."""
    if value == old:
        return
    if value in ("", [], {}, None):
        node.pop(key, None)
    else:
        node[key] = value


def _sections(tree: Any, old: Content, new: Content, imported: Content) -> None:
    """Set what is not a task: whole entries, where they changed."""
    before, after, below = (_beside_tasks(c) for c in (old, new, imported))
    for name in ("parameters", "subsets", "retention"):
        was, now = before.get(name, {}), after.get(name, {})
        if was == now:
            continue
        section = tree.setdefault(name, {})
        for key in [k for k in section if k not in now]:
            del section[key]
        for key, value in now.items():
            if value != was.get(key, MISSING):
                section[key] = value
        if not section:
            del tree[name]
    for name in ("steps", "contracts", "cameras"):
        # Contracts and cameras of imports are added to; steps stand over those of imports.
        inherited = below.get(name, []) if name != "steps" else []
        was, now = ([v for v in side.get(name, []) if v not in inherited] for side in (before, after))
        if was == now:
            continue
        kept = list(tree.get(name, []))
        by_old = {repr(v): node for v, node in zip(was, kept, strict=True)} if len(was) == len(kept) else {}
        if name in tree:
            _resequence(tree[name], [by_old.get(repr(v), v) for v in now])
            if not now:
                del tree[name]
        elif now:
            tree[name] = now


def _beside_tasks(content: Content) -> dict[str, Any]:
    """Return what a file says of a pipeline besides its tasks."""
    return {k: v for k, v in write(content, everything=False).items() if k != "tasks"}


def _resequence(node: Any, values: list[Any]) -> None:
    """Give a list other elements; those that stay at the front keep their remarks."""
    for i, value in enumerate(values):
        if i < len(node):
            if node[i] is not value:
                node[i] = value
        else:
            node.append(value)
    del node[len(values) :]


def _imports(tree: Any, new: Content, origin: Origin, target: Path) -> None:
    """Leave out imported tasks that are gone, and let locations be seen from where the file goes."""
    here, there = Path(origin.file).absolute().parent, target.absolute().parent
    gone = [label for label in origin.imported.labels if label not in new.labels]
    gone = [label for label in gone if label in origin.content.labels]
    for i, node in enumerate(tree.get("imports") or ()):
        rule: Any = {"location": node} if isinstance(node, str) else node
        location = rule["location"]
        local = ":" not in location and not os.path.isabs(location)
        if local and here != there:
            rule["location"] = os.path.relpath(here / location, there)
        back = {v: k for k, v in rule.get("rename", {}).items()}
        if gone:
            rule.setdefault("exclude", []).extend(back.get(label, label) for label in gone)
            for label in gone:
                if label in back:
                    del rule["rename"][back[label]]
        if isinstance(node, str):
            tree["imports"][i] = rule if len(rule) > 1 else rule["location"]


def _tasks(tree: Any, old: Content, new: Content, imported: Content) -> None:
    whole = write(attrs.evolve(new, parameters={}), everything=False)["tasks"]
    was = {t.label: t for t in old.tasks}
    below = {t.label: t for t in imported.tasks}
    section = tree.setdefault("tasks", {})
    if section is None:
        section = tree["tasks"] = {}
    for label in [k for k in section if k not in new.labels]:
        del section[label]
    for task in new.tasks:
        label = task.label
        before = was.get(label)
        same_references = old.references.get(label, {}) == new.references.get(label, {})
        if before == task and same_references and (label in section or label in below):
            continue
        if before is None or before.task_class is not task.task_class:
            place = [t for t in new.labels if t in section or t == label].index(label)
            if label in section:
                section[label] = whole[label]
            else:
                section.insert(place, label, whole[label])
            continue
        if label not in section:
            section[label] = {}
        elif isinstance(section[label], str):
            section[label] = {"class": section[label]}
        _config(section[label], before, task, old.references.get(label, {}), new.references.get(label, {}))
    order = [label for label in new.labels if label in section]
    if list(section) != order:
        for label in order:
            section.move_to_end(label)
    if not section and "imports" in tree:
        del tree["tasks"]


def _overrides(tree: Any, new: Content, origin: Origin, target: Path) -> None:
    """Set the overrides of each task that are this file's own; those that stay keep their remarks."""
    inherited = [*origin.imported.overrides]
    here = Path(origin.file).absolute().parent
    document = attrs.evolve(load(origin.text, origin.file), folder=str(here))
    moved = here != target.absolute().parent
    for task in new.tasks:
        label = task.label
        own = [o for o in new.overrides if o.label == label and not o.camera and o not in inherited]
        node: Any = (tree.get("tasks") or {}).get(label)
        kept = list(node.get("overrides") or ()) if isinstance(node, Mapping) else []
        if not own and not kept:
            continue
        if not isinstance(node, Mapping):
            section = tree.setdefault("tasks", {})
            section[label] = node = {} if node is None else {"class": node}
        raw = [
            from_plain(label, entry, given=FilePlace(document, ("tasks", label, "overrides", i)))
            for i, entry in enumerate(kept)
        ]
        there = [_whole(o, task, new) for o in raw]
        if there == own and not (moved and there != raw):
            continue
        # A relative path means another file where the pipeline goes to another folder.
        stays = [o for o, was in zip(there, raw, strict=True) if o == was or not moved]
        entries = [kept[there.index(o)] if o in stays else plain(o) for o in own]
        if not own:
            del node["overrides"]
        elif kept:
            _resequence(node["overrides"], entries)
        else:
            node["overrides"] = entries


def _whole(override: DataOverride, task: TaskDef, content: Content) -> DataOverride:
    """Return an override as the file is read, its paths whole; as it is where it does not fit any more."""
    try:
        return anchored(override, applied(task, override, content.parameters))
    except SuperTaskError:
        return override


def _config(
    node: Any, old: TaskDef, new: TaskDef, was: Mapping[str, Any], references: Mapping[str, Any]
) -> None:
    """Set what changed of a task's configuration."""
    if node.get("config") is None:
        node["config"] = {}
    referring = {parse_path(path)[0] for path in references}
    for path, value in _changes(old.config, new.config, ""):
        if parse_path(path)[0] not in referring:
            _set_at(node["config"], path, escape(value))
    for path, raw in references.items():
        if raw != was.get(path, MISSING):
            _set_at(node["config"], path, raw)
    if not node["config"]:
        del node["config"]


def _changes(old: ConfigBase, new: ConfigBase, prefix: str) -> list[tuple[str, Any]]:
    """Return the path and plain value of each field that differs, as deep as classes are the same."""
    found: list[tuple[str, Any]] = []
    for name, declared in new.config_fields.items():
        a, b = getattr(old, name), getattr(new, name)
        path = f"{prefix}{name}"
        if isinstance(a, Configurable) and isinstance(b, Configurable) and a.target is b.target:
            a, b = a.config, b.config
        if isinstance(a, ConfigBase) and type(a) is type(b):
            found += _changes(a, b, f"{path}.")
        elif declared.kind.plain(a) != declared.kind.plain(b):
            found.append((path, declared.kind.plain(b)))
    return found


def _set_at(config: Any, path: str, value: Any) -> None:
    """Set a field where the file sets it: under its path, or nested."""
    steps = list(parse_path(path))
    node = config
    while steps:
        dotted = ".".join(steps)
        if dotted in node or len(steps) == 1:
            if isinstance(node.get(dotted), list) and isinstance(value, list):
                _resequence(node[dotted], value)  # a list on one line stays on one line
            else:
                node[dotted] = value
            return
        inner = node.get(steps[0])
        if isinstance(inner, Mapping) and "config" in inner:
            inner = inner["config"]
        if not isinstance(inner, Mapping):
            # Paths apply in order, so what comes last stands.
            node.pop(dotted, None)
            node[dotted] = value
            return
        node, steps = inner, steps[1:]


def read_origin(path: str | Path, content: Content, *, given: bool) -> Origin | None:
    """Return the file of a pipeline as it was read; None for a part of it, which is no longer that file."""
    file, words = split_location(path)
    if words:
        return None
    if given:
        try:
            content = load_pipeline(file)
        except PipelineError:
            return None  # without these values it says nothing
    below = Content()
    document = load_file(file)
    if isinstance(document.value, Mapping) and "imports" in document.value:
        values = {
            name: Given(p.declared.kind.plain(p.value), p.source) for name, p in content.parameters.items()
        }
        below = imported(document, Path(file).parent, values, (file,))
    return Origin(file, Path(file).read_text(encoding="utf-8"), content, below)


def says(text: str, path: str | Path, content: Content) -> bool:
    """Tell whether a text, standing in the file `path`, says what a pipeline is."""
    try:
        document = attrs.evolve(load(text, str(path)), folder=str(Path(path).absolute().parent))
        found = read(document, Path(path).parent, None, (str(path),))
    except SuperTaskError:
        return False
    return found == content

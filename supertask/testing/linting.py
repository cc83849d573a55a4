"""Look a SuperTask over for what its author is likely not to have meant.

assert not lint(IsrTask)
"""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

from supertask.classpath import ClassPathError, class_path, load_class
from supertask.configs.identities import IdentityError, canonical
from supertask.connections.fields import FieldRole, SuperTaskConfig
from supertask.errors import ConfigError
from supertask.tasks.supertask import SuperTask

__all__ = ["lint"]

_DEFAULTS = (
    "import sys; from supertask.classpath import load_class; "
    "from supertask.configs.identities import canonical; "
    "print(canonical(load_class(sys.argv[1]).ConfigClass().to_dict()).hex())"
)


def lint(task_class: type[SuperTask]) -> tuple[str, ...]:
    """Return what is doubtful in a SuperTask; nothing is run but its configuration's defaults.

    Looked for are inputs that are declared and not read, results that are not declared, outputs that
    are never returned, methods that change the task, and a default configuration that differs from
    one process to the next.

    Parameters
    ----------
    task_class : type
        The class.

    Returns
    -------
    tuple of str
        One sentence for each finding; empty if there is none.
    """
    config_class = task_class.ConfigClass
    found: list[str] = []
    if issubclass(config_class, SuperTaskConfig):
        roles = {
            name: declared.kind.template.role
            for name, declared in config_class.config_fields.items()
            if hasattr(declared.kind, "template") and not declared.kind.template.metadata
        }
        # Who writes runQuantum reads and writes as he likes.
        if task_class.runQuantum is SuperTask.runQuantum:
            found += _signature(task_class, roles)
            found += _results(task_class, roles)
    found += _changes(task_class)
    found += _configuration(task_class)
    return tuple(found)


def _tree(function: Any) -> ast.AST | None:
    """Return a function's syntax tree, or None where there is no source."""
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return None


def _signature(task_class: type[SuperTask], roles: dict[str, FieldRole]) -> Iterator[str]:
    inputs = [n for n, role in roles.items() if role in (FieldRole.INPUT, FieldRole.CALIBRATION)]
    run = getattr(task_class, "function", task_class.run)
    parameters = inspect.signature(task_class.run).parameters
    takes_all = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    tree = _tree(run)
    used = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)} if tree else set(parameters)
    for name in inputs:
        if name not in parameters:
            if not takes_all:
                yield f"input {name!r} is declared, but run has no parameter of that name"
        elif name not in used:
            yield f"input {name!r} is declared and read from the repository, but run does not use it"
    for name, parameter in parameters.items():
        needed = parameter.default is inspect.Parameter.empty
        variable = parameter.kind in (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
        if name not in (*inputs, "self", "dataId") and needed and not variable:
            yield f"run has a parameter {name!r}, which is no input field"


def _results(task_class: type[SuperTask], roles: dict[str, FieldRole]) -> Iterator[str]:
    outputs = [name for name, role in roles.items() if role is FieldRole.OUTPUT]
    tree = None if hasattr(task_class, "function") else _tree(task_class.run)
    if tree is None:
        return
    named: dict[str, None] = {}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Return) or node.value is None:
            continue
        value = node.value
        if isinstance(value, ast.Call) and getattr(value.func, "id", "") in ("Struct", "dict"):
            if any(k.arg is None for k in value.keywords) or value.args:
                return  # what it holds is known only when it runs
            named.update(dict.fromkeys(str(k.arg) for k in value.keywords))
        elif isinstance(value, ast.Dict) and all(isinstance(k, ast.Constant) for k in value.keys):
            named.update(dict.fromkeys(str(k.value) for k in value.keys if isinstance(k, ast.Constant)))
        else:
            return
    for name in named:
        if name not in outputs:
            yield f"run returns {name!r}, which is no output field, so it is not written"
    for name in outputs:
        if name not in named:
            yield f"output {name!r} is declared, but run never returns it"


def _changes(task_class: type[SuperTask]) -> Iterator[str]:
    """Yield where a method sets or extends what belongs to the task."""
    for cls in task_class.__mro__:
        if cls in SuperTask.__mro__:
            continue
        for name, method in vars(cls).items():
            tree = _tree(method) if inspect.isfunction(method) and name != "__init__" else None
            for node in ast.walk(tree) if tree else ():
                targets: list[Any] = []
                if isinstance(node, ast.Assign):
                    targets = node.targets
                elif isinstance(node, ast.AugAssign | ast.AnnAssign):
                    targets = [node.target]
                elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                    grows = node.func.attr in {"append", "add", "update", "extend", "setdefault", "pop"}
                    targets = [node.func.value] if grows else []
                for target in targets:
                    attribute = _of_self(target)
                    if attribute and attribute not in ("metadata", "log"):
                        yield (
                            f"{name} changes self.{attribute}: a task does not change by what it is called "
                            "for, as its quanta run anywhere and in any order"
                        )


def _of_self(node: Any) -> str:
    """Return the attribute of ``self`` that an expression is, or is a part of."""
    while isinstance(node, ast.Subscript | ast.Attribute):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
            return node.attr
        node = node.value
    return ""


def _configuration(task_class: type[SuperTask]) -> Iterator[str]:
    path = class_path(task_class)
    try:
        here = canonical(task_class.ConfigClass().to_dict()).hex()
    except (ConfigError, IdentityError) as error:
        if isinstance(error, IdentityError):
            yield f"its configuration has no identity: {error}"
        return  # a required field has no default to compare
    try:
        load_class(path, SuperTask)
    except ClassPathError:
        return  # no other process can find it
    there = subprocess.run(
        [sys.executable, "-c", _DEFAULTS, path], capture_output=True, text=True, check=False,
        timeout=120,
    )  # fmt: skip
    if there.returncode == 0 and there.stdout.strip() != here:
        yield (
            "its default configuration differs from one process to the next, and defaults do not enter "
            "identity, so other results would pass for the same: is a default made from the time, a random "
            "number or the order of a set?"
        )

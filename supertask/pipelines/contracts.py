"""Contracts of a pipeline: what must hold between the configurations of its tasks.

A contract is an expression such as ``isr.image == detect.image`` or
``not detect.deblend or detect.radius >= 2 * measure.aperture``. It knows fields of configurations
(``label.field.sub[0]``), parameters (``parameters.name``), numbers, text in quotes, ``true``, ``false``,
``null``, lists in brackets, ``== != < <= > >=``, ``in``, ``not in``, ``+ - * /``, ``and``, ``or``, ``not``.
A dataset type, a path and a member of an enum compare by what a file says for them.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

import attrs

from supertask.configs.base import ConfigBase, equal
from supertask.configs.fields import Configurable
from supertask.configs.overrides import parse_path
from supertask.errors import ConfigError, ExpressionError, did_you_mean
from supertask.pipelines.parameters import Parameter

__all__ = ["Contract", "broken", "labels_of", "make_contract", "relabelled"]

_GRAMMAR = r"""
?start: or_
?or_: and_ ("or" and_)*
?and_: not_ ("and" not_)*
?not_: "not" not_ -> not_
     | comparison
?comparison: sum (COMPARE sum)?
           | sum "in" sum -> in_
           | sum "not" "in" sum -> not_in
?sum: product (SIGN product)*
?product: unary (TIMES unary)*
?unary: "-" unary -> minus
      | atom
?atom: PATH -> path
     | NUMBER -> number
     | TEXT -> text
     | "true" -> true
     | "false" -> false
     | "null" -> null
     | "[" [or_ ("," or_)*] "]" -> list_
     | "(" or_ ")"
COMPARE: "==" | "!=" | "<=" | ">=" | "<" | ">"
SIGN: "+" | "-"
TIMES: "*" | "/"
PATH.2: /[A-Za-z_][A-Za-z0-9_\-]*(\.[A-Za-z_][A-Za-z0-9_]*|\[[^\]]*\])+/
NUMBER: /[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?|\.[0-9]+([eE][-+]?[0-9]+)?/
TEXT: /'[^']*'|"[^"]*"/
%ignore /\s+/
"""
_DEEPEST = 200
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv,
}  # fmt: skip


@attrs.frozen
class Contract:
    """What must hold, and what to say where it does not."""

    expression: str
    message: str = ""
    source: str = attrs.field(default="", eq=False)
    """Where it stands."""


class _Missing(Exception):  # noqa: N818 - it carries a message to where it is noted
    """A path leads nowhere."""


@lru_cache(maxsize=1)
def _parser() -> Any:
    from lark import Lark

    return Lark(_GRAMMAR, parser="lalr", propagate_positions=True)


@lru_cache(maxsize=512)
def _parse(text: str) -> Any:
    from lark.exceptions import UnexpectedInput

    try:
        tree = _parser().parse(text)
    except UnexpectedInput as error:
        at_end = getattr(getattr(error, "token", None), "type", "") == "$END"
        position = len(text) if at_end else int(getattr(error, "pos_in_stream", 0))
        what = "it ends too early" if at_end else f"it cannot go on with {text[position : position + 12]!r}"
        hint = "; write == for equal" if text[position : position + 1] == "=" else ""
        bare = text[position:].partition(" ")[0]
        if bare.isidentifier() and not at_end:
            hint = f"; a field is label.{bare}, and text stands in quotes"
        raise ExpressionError(f"contract: {what}{hint}", text, position) from None
    if _depth(tree) > _DEEPEST:
        raise ExpressionError(f"contract: it is nested more than {_DEEPEST} deep", text)
    return tree


def _depth(tree: Any) -> int:
    """Return how deep an expression is nested; without recursion, which too deep a one would break."""
    level, depth = [tree], 0
    while level:
        level = [child for node in level for child in getattr(node, "children", ())]
        depth += 1
    return depth


def _paths(text: str) -> Iterator[str]:
    for node in _parse(text).iter_subtrees():
        if node.data == "path":
            yield str(node.children[0])


def labels_of(contract: Contract) -> set[str]:
    """Return the labels of the tasks that a contract speaks of."""
    return {_split(path)[0] for path in _paths(contract.expression)} - {"parameters"}


def _split(path: str) -> tuple[str, str]:
    """Return the label and the field's path of ``label.field.sub``."""
    label, dot, rest = path.partition(".")
    return (label, rest) if dot else (path.partition("[")[0], path)


def make_contract(expression: str, message: str = "", source: str = "") -> Contract:
    """Return a contract whose expression can be understood.

    Raises
    ------
    ExpressionError
        It cannot be; the message points at the character.
    """
    _parse(expression)
    return Contract(expression.strip(), message, source)


def relabelled(contract: Contract, labels: Mapping[str, str]) -> Contract:
    """Return the contract with other labels in it."""
    places = [
        (node.children[0].start_pos, str(node.children[0]))
        for node in _parse(contract.expression).iter_subtrees()
        if node.data == "path"
    ]
    text = contract.expression
    for start, path in sorted(places, reverse=True):
        label = _split(path)[0]
        text = text[:start] + labels.get(label, label) + text[start + len(label) :]
    return attrs.evolve(contract, expression=text)


def broken(contract: Contract, configs: Mapping[str, ConfigBase], parameters: Mapping[str, Parameter]) -> str:
    """Return in words why a contract does not hold, or an empty string.

    Parameters
    ----------
    contract : Contract
        The contract.
    configs : Mapping
        Label → configuration.
    parameters : Mapping
        The pipeline's parameters by name.
    """
    where = f"{contract.source}: " if contract.source else ""
    said: dict[str, str] = {}

    def value_of(path: str) -> Any:
        value, shown = _value(path, configs, parameters)
        said[path] = shown
        return value

    try:
        if _evaluate(_parse(contract.expression), value_of):
            return ""
    except _Missing as error:
        return f"{where}contract {contract.expression!r}: {error}"
    except (TypeError, ZeroDivisionError) as error:
        return f"{where}contract {contract.expression!r} has no value: {error} ({', '.join(said.values())})"
    message = f": {contract.message}" if contract.message else ""
    return f"{where}contract {contract.expression!r} does not hold{message} ({', '.join(said.values())})"


def _evaluate(node: Any, value_of: Callable[[str], Any]) -> Any:
    def of(child: Any) -> Any:
        return _evaluate(child, value_of)

    name, children = node.data, node.children
    match name:
        case "or_":
            return any(of(c) for c in children)
        case "and_":
            return all(of(c) for c in children)
        case "not_":
            return not of(children[0])
        case "in_":
            return _is_in(of(children[0]), of(children[1]))
        case "not_in":
            return not _is_in(of(children[0]), of(children[1]))
        case "comparison" | "sum" | "product":
            left = of(children[0])
            for sign, right in zip(children[1::2], children[2::2], strict=True):
                left = _operate(str(sign), left, of(right))
            return left
        case "minus":
            return -of(children[0])
        case "path":
            return value_of(str(children[0]))
        case "number":
            text = str(children[0])
            return int(text) if text.isdigit() else float(text)
        case "text":
            return str(children[0])[1:-1]
        case "list_":
            return [of(c) for c in children if c is not None]
    return {"true": True, "false": False}.get(name)


def _operate(sign: str, left: Any, right: Any) -> Any:
    if sign in ("==", "!="):
        return _same(left, right) == (sign == "==")
    return _COMPARE[sign](left, right)


def _same(left: Any, right: Any) -> bool:
    both = (left, right)
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in both):
        return bool(left == right)
    return equal(left, right)


def _is_in(value: Any, among: Any) -> bool:
    if isinstance(among, str):
        return value in among
    return any(_same(value, v) for v in among)


def _value(
    path: str, configs: Mapping[str, ConfigBase], parameters: Mapping[str, Parameter]
) -> tuple[Any, str]:
    """Return the value at a path, and in words what it is and what set it."""
    label, rest = _split(path)
    if label == "parameters":
        if rest not in parameters:
            raise _Missing(f"there is no parameter {rest!r}{did_you_mean(rest, parameters)}")
        found = parameters[rest]
        plain = found.declared.kind.plain(found.value)
        return plain, f"{path} is {plain!r}, {found.source}"
    if label not in configs:
        raise _Missing(f"the pipeline has no task {label!r}{did_you_mean(label, configs)}")
    value: Any = configs[label]
    kind: Any = None
    try:
        steps = parse_path(rest)
    except ConfigError as error:
        raise _Missing(str(error)) from None
    for step in steps:
        if isinstance(value, Configurable):
            value = value.config
        if isinstance(value, ConfigBase):
            fields = value.config_fields
            if step not in fields:
                raise _Missing(
                    f"{path}: {type(value).__name__} has no field {step!r}{did_you_mean(step, fields)}; "
                    f"it has {', '.join(fields) or 'none'}"
                )
            kind, value = fields[step].kind, getattr(value, step)
            continue
        try:
            value = value[int(step)] if isinstance(value, list | tuple) else value[step]
        except (KeyError, IndexError, TypeError, ValueError):
            raise _Missing(f"{path}: there is nothing at {step!r}") from None
        kind = None
    plain = value if kind is None else kind.plain(value)
    history = getattr(configs[label], "history", {})
    settings = history.get(rest) or history.get(steps[0]) or ()
    source = settings[-1].source if settings else "default"
    return plain, f"{path} is {plain!r}, {source}"

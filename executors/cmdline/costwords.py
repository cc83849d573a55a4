"""Cost models on the command line: ``label=2.5``, ``label=bytes:1e-8``, ``label=inputs:0.3``, a function."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import click

from executors.cmdline.options import see_local_modules

if TYPE_CHECKING:
    from graphbuilder.batching.weights import CostModel

__all__ = ["parse_costs"]


def parse_costs(option: str, words: Iterable[str]) -> dict[str, CostModel]:
    """Return the model of each task.

    Raises
    ------
    click.UsageError
        A word is not ``LABEL=MODEL``.
    """
    found: dict[str, CostModel] = {}
    for word in words:
        label, equals, text = word.partition("=")
        if not equals or not label.strip():
            raise click.UsageError(
                f"--{option} {word!r}: write LABEL=NUMBER, LABEL=bytes:NUMBER, LABEL=inputs:NUMBER or "
                "LABEL=package.module:function"
            )
        if label in found:
            raise click.UsageError(f"--{option} {word!r}: {label!r} is given twice")
        found[label.strip()] = _model(option, word, text.strip())
    return found


def _model(option: str, word: str, text: str) -> CostModel:
    from graphbuilder.batching.weights import ByBytes, ByFunction, ByInputs, Constant

    kind, colon, rest = text.partition(":")
    if not colon:
        return Constant(_number(option, word, text))
    if kind == "bytes":
        return ByBytes(_number(option, word, rest))
    if kind == "inputs":
        return ByInputs(_number(option, word, rest))
    return ByFunction(_function(option, word, kind, rest))


def _number(option: str, word: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise click.UsageError(f"--{option} {word!r}: {text!r} is not a number of 0 or more")
    return value


def _function(option: str, word: str, module: str, name: str) -> Callable[..., Any]:
    see_local_modules()
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise click.UsageError(f"--{option} {word!r}: cannot import {module}:{name}: {error}") from None
    if not callable(found):
        raise click.UsageError(f"--{option} {word!r}: {module}:{name} is not a function")
    function: Callable[..., Any] = found
    return function

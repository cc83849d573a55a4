from __future__ import annotations

import pytest

from supertask import errors
from supertask.errors import (
    ConfigError,
    ExpressionError,
    NoWork,
    PartialOutputs,
    Problems,
    SuperTaskError,
    did_you_mean,
)


def test_every_error_is_in_one_tree():
    classes = [getattr(errors, name) for name in errors.__all__]
    raised = [
        c
        for c in classes
        if isinstance(c, type) and issubclass(c, Exception) and c not in (NoWork, PartialOutputs)
    ]
    assert all(issubclass(c, SuperTaskError) for c in raised)


def test_no_work_is_no_error_of_ours():
    assert not issubclass(NoWork, SuperTaskError)


def test_an_expression_error_points_at_the_character():
    error = ExpressionError("unknown name", "visit = 1\nAND brand = 2", 14)
    assert str(error) == "unknown name\n  AND brand = 2\n      ^"


def test_an_expression_error_without_text_is_its_message():
    assert str(ExpressionError("empty")) == "empty"


def test_near_misses_are_suggested_and_others_not():
    assert did_you_mean("vist", ["visit", "band"]) == " (did you mean 'visit'?)"
    assert did_you_mean("tract", ["visit", "band"]) == ""


def test_no_problem_raises_nothing():
    Problems("config").raise_if_any(ConfigError)


def test_one_problem_is_one_line():
    problems = Problems("config")
    problems.add("x is wrong")
    with pytest.raises(ConfigError, match=r"^config: x is wrong$"):
        problems.raise_if_any(ConfigError)


def test_several_problems_are_reported_together():
    problems = Problems("config")
    problems.add("x is wrong")
    problems.add("y is wrong")
    with pytest.raises(ConfigError) as caught:
        problems.raise_if_any(ConfigError)
    assert str(caught.value) == "config: 2 problems\n  - x is wrong\n  - y is wrong"
    assert caught.value.problems == ("x is wrong", "y is wrong")
    assert list(problems) == ["x is wrong", "y is wrong"]
    assert len(problems) == 2


def test_problems_take_those_of_another_error_one_by_one():
    inner = Problems("inner")
    inner.add("a")
    inner.add("b")
    outer = Problems("outer")
    with pytest.raises(ConfigError) as caught:
        inner.raise_if_any(ConfigError)
    outer.take(caught.value, "isr: ")
    outer.take(ConfigError("alone"))
    assert list(outer) == ["isr: a", "isr: b", "alone"]

from __future__ import annotations

import fnmatch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supertask.conditions import (
    And,
    Arithmetic,
    Between,
    Compare,
    Comparison,
    Constant,
    In,
    Like,
    Name,
    Negative,
    Not,
    Or,
    Range,
    conjuncts,
    evaluate,
    names,
)

COUNT, SIZE, WORD = Name("visit"), Name("visit", "airmass"), Name("band")
NULL = None


# -- a model of the language: one row, Kleene's three values as True, False and None ---------------


def value_of(node, row):
    if isinstance(node, Name):
        return row[node]
    if isinstance(node, Constant):
        return node.value
    if isinstance(node, Negative):
        inner = value_of(node.operand, row)
        return NULL if inner is NULL else -inner
    left, right = value_of(node.left, row), value_of(node.right, row)
    if left is NULL or right is NULL or (node.op in "/%" and right == 0):
        return NULL
    return {
        "+": lambda: left + right,
        "-": lambda: left - right,
        "*": lambda: left * right,
        "/": lambda: left / right,
        "%": lambda: left % right,
    }[node.op]()


def truth_of(node, row):
    if isinstance(node, And):
        parts = [truth_of(p, row) for p in node.parts]
        return False if False in parts else NULL if NULL in parts else True
    if isinstance(node, Or):
        parts = [truth_of(p, row) for p in node.parts]
        return True if True in parts else NULL if NULL in parts else False
    if isinstance(node, Not):
        part = truth_of(node.part, row)
        return NULL if part is NULL else not part
    if isinstance(node, Compare):
        left, right = value_of(node.left, row), value_of(node.right, row)
        if left is NULL or right is NULL:
            return NULL
        return {
            Comparison.EQ: left == right,
            Comparison.NE: left != right,
            Comparison.LT: left < right,
            Comparison.LE: left <= right,
            Comparison.GT: left > right,
            Comparison.GE: left >= right,
        }[node.op]
    if isinstance(node, Between):
        lower = truth_of(Compare(Comparison.LE, node.low, node.operand), row)
        upper = truth_of(Compare(Comparison.LE, node.operand, node.high), row)
        return False if False in (lower, upper) else NULL if NULL in (lower, upper) else True
    value = value_of(node.operand, row)
    if value is NULL:
        return NULL
    if isinstance(node, In):
        return value in node.values or any(value in range(r.first, r.last + 1, r.step) for r in node.ranges)
    return fnmatch.fnmatchcase(value, node.pattern)


small = st.integers(-4, 4)
halves = st.integers(-6, 6).map(lambda n: n / 2)
words = st.sampled_from(["g", "r", "i", "gr", ""])

leaves = st.one_of(st.just(COUNT), st.just(SIZE), small.map(Constant), halves.map(Constant))
numbers = st.recursive(
    leaves,
    lambda inner: st.one_of(
        inner.map(Negative), st.builds(Arithmetic, st.sampled_from("+-*/%"), inner, inner)
    ),
    max_leaves=3,
)
texts = st.one_of(st.just(WORD), words.map(Constant))
ranges = st.builds(Range, small, small, st.integers(1, 3))
some = lambda strategy: st.lists(strategy, max_size=3).map(tuple)
simple = st.one_of(
    st.builds(Compare, st.sampled_from(Comparison), numbers, numbers),
    st.builds(Compare, st.sampled_from(Comparison), texts, texts),
    st.builds(Between, numbers, numbers, numbers),
    st.builds(Between, texts, texts, texts),
    st.builds(In, numbers, some(small | halves), some(ranges)),
    st.builds(In, texts, some(words)),
    st.builds(Like, texts, st.sampled_from(["*", "g*", "?", "[a-h]", "[!g]", "", "r"])),
)
conditions = st.recursive(
    simple,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda p: And(tuple(p))),
        st.lists(inner, min_size=1, max_size=3).map(lambda p: Or(tuple(p))),
        inner.map(Not),
    ),
    max_leaves=6,
)
rows = st.lists(
    st.fixed_dictionaries({COUNT: st.none() | small, SIZE: st.none() | halves, WORD: st.none() | words}),
    min_size=1,
    max_size=8,
)


def columns(rows, text_of_null=None):
    def resolve(name):
        null = np.array([row[name] is None for row in rows])
        filler = {COUNT: 3, SIZE: 0.5, WORD: text_of_null}[name]
        kind = {COUNT: np.int64, SIZE: np.float64, WORD: object}[name]
        values = np.empty(len(rows), kind)
        values[:] = [filler if row[name] is None else row[name] for row in rows]
        return values, null if null.any() else None

    return resolve


@given(conditions, rows, st.sampled_from([None, "g"]))
def test_columns_are_judged_as_kleene_judges_each_row(condition, rows, text_of_null):
    found = np.broadcast_to(evaluate(condition, columns(rows, text_of_null)), (len(rows),))
    assert found.tolist() == [truth_of(condition, row) is not False for row in rows]


def test_what_lacks_a_band_is_not_constrained_by_it():
    condition = And(
        (
            In(COUNT, ranges=(Range(1, 10),)),
            Compare(Comparison.EQ, WORD, Constant("r")),
        )
    )
    rows = [
        {COUNT: 3, WORD: "r"},
        {COUNT: 3, WORD: "g"},
        {COUNT: 11, WORD: "r"},
        {COUNT: None, WORD: None},
        {COUNT: 11, WORD: None},
    ]
    assert evaluate(condition, columns(rows)).tolist() == [True, False, False, True, False]


def test_what_is_out_of_one_bound_is_out_though_the_other_is_null():
    condition = Between(SIZE, COUNT, Constant(1.0))
    assert evaluate(condition, columns([{SIZE: 2.0, COUNT: None}])).tolist() == [False]


def test_division_by_zero_is_null_and_warns_nobody():
    condition = Compare(Comparison.GT, Arithmetic("/", Constant(1), COUNT), Constant(5))
    assert evaluate(condition, columns([{COUNT: 0}, {COUNT: 1}])).tolist() == [True, False]


@pytest.mark.parametrize(
    ("condition", "text"),
    [
        (Compare(Comparison.NE, WORD, Constant("it's")), "band != 'it''s'"),
        (In(COUNT, (1, 2), (Range(4, 10, 2),)), "visit IN (1, 2, 4..10:2)"),
        (Between(SIZE, Constant(1.0), Negative(Constant(2))), "visit.airmass BETWEEN 1.0 AND -2"),
        (Like(WORD, "g*"), "band GLOB 'g*'"),
        (Not(Or((Like(WORD, "g"), Like(WORD, "r")))), "NOT (band GLOB 'g' OR band GLOB 'r')"),
        (
            And((Or((Like(WORD, "g"), Like(WORD, "r"))), Compare(Comparison.LT, COUNT, Constant(3)))),
            "(band GLOB 'g' OR band GLOB 'r') AND visit < 3",
        ),
        (
            Compare(Comparison.GE, Arithmetic("%", COUNT, Constant(2)), Constant(True)),
            "(visit % 2) >= TRUE",
        ),
    ],
)
def test_a_condition_is_shown_as_it_would_be_written(condition, text):
    assert str(condition) == text


@given(conditions)
def test_conjuncts_say_the_same_as_the_whole(condition):
    parts = conjuncts(And((condition, And((condition,)))))
    assert not any(isinstance(p, And) for p in parts)
    row = {COUNT: 1, SIZE: 0.5, WORD: "g"}
    assert truth_of(And(parts), row) == truth_of(condition, row) if parts else True


def test_no_condition_has_no_conjuncts():
    assert conjuncts(None) == ()


def test_names_are_found_wherever_they_stand():
    condition = Not(
        And(
            (
                Or((In(Negative(COUNT), (1,)), Like(WORD, "*"))),
                Between(Constant(1), Arithmetic("+", SIZE, Constant(2)), Constant(3)),
            )
        )
    )
    assert names(condition) == {COUNT, SIZE, WORD}

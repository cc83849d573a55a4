from __future__ import annotations

import datetime as dt
import subprocess
import sys

import numpy as np
import pytest
from astropy import units
from astropy.time import Time
from hypothesis import given, settings
from hypothesis import strategies as st

from graphbuilder.expressions.language import MAX_LENGTH, parse
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
    evaluate,
)
from supertask.errors import ExpressionError
from supertask.times import tai_ns
from supertask.unitmodels import load_unit_model
from supertask.units import FieldKind, KeyKind, Unit, UnitField, UnitModel

IMAGING = load_unit_model("imaging")
MODEL = UnitModel(
    "small",
    (
        Unit("band", KeyKind.STR),
        Unit("night", KeyKind.DATE),
        Unit(
            "visit",
            KeyKind.INT,
            fields=(
                UnitField("exposure_time", FieldKind.FLOAT),
                UnitField("count", FieldKind.INT),
                UnitField("object", FieldKind.STR),
                UnitField("good", FieldKind.BOOL),
                UnitField("obs_time", FieldKind.TIME),
            ),
        ),
    ),
)
VISIT, BAND, NIGHT = Name("visit"), Name("band"), Name("night")
TIME = Name("visit", "obs_time")


def eq(left, right):
    return Compare(Comparison.EQ, left, right)


# -- what is understood -------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "  ", "\n\t"])
def test_an_empty_expression_is_no_condition(text):
    assert parse(text, MODEL) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("visit = 1", eq(VISIT, Constant(1))),
        ("visit == -1", eq(VISIT, Constant(-1))),
        ("visit <> 1", Compare(Comparison.NE, VISIT, Constant(1))),
        ("1 < visit", Compare(Comparison.LT, Constant(1), VISIT)),
        ("visit>=1.5e1", Compare(Comparison.GE, VISIT, Constant(15.0))),
        ("visit IN (1..10)", In(VISIT, (), (Range(1, 10),))),
        ("visit in (1..10:2, 5,-3..-1)", In(VISIT, (5,), (Range(1, 10, 2), Range(-3, -1)))),
        ("visit IN ()", In(VISIT)),
        ("visit not in (1)", Not(In(VISIT, (1,)))),
        ("band IN ('r', \"i\")", In(BAND, ("r", "i"))),
        ("visit between 2 and 5", Between(VISIT, Constant(2), Constant(5))),
        ("band NOT LIKE 'r%'", Not(Like(BAND, "r*"))),
        ("visit.object LIKE 'a_b*[%'", Like(Name("visit", "object"), "a?b[*][[]*")),
        ("visit.object GLOB 'M[!0-9]*'", Like(Name("visit", "object"), "M[!0-9]*")),
        ("band = 'it''s'", eq(BAND, Constant("it's"))),
        ('band = "a""b\'"', eq(BAND, Constant("a\"b'"))),
        ("visit.good", eq(Name("visit", "good"), Constant(True))),
        ("NOT visit.good = FALSE", Not(eq(Name("visit", "good"), Constant(False)))),
        ("visit + 2 * 3 = 1", eq(Arithmetic("+", VISIT, Constant(6)), Constant(1))),
        ("-visit % 2 = 1", eq(Arithmetic("%", Negative(VISIT), Constant(2)), Constant(1))),
        ("visit-1-2=0", eq(Arithmetic("-", Arithmetic("-", VISIT, Constant(1)), Constant(2)), Constant(0))),
        ("night = '2026-01-05'", eq(NIGHT, Constant("2026-01-05"))),
    ],
)  # fmt: skip
def test_each_form_gives_its_condition(text, expected):
    assert parse(text, MODEL) == expected


def test_and_binds_tighter_than_or_and_not_tighter_than_both():
    a, b, c = (eq(VISIT, Constant(i)) for i in (1, 2, 3))
    assert parse("visit=1 OR visit=2 AND NOT visit=3", MODEL) == Or((a, And((b, Not(c)))))
    assert parse("(visit=1 or visit=2) and visit=3", MODEL) == And((Or((a, b)), c))


def test_nested_ands_are_laid_flat():
    assert len(parse("visit=1 AND (visit=2 AND visit=3)", MODEL).parts) == 3


def test_a_thousand_parentheses_are_fine():
    text = "(" * 1000 + "visit=1" + ")" * 1000
    assert parse(text, MODEL) == eq(VISIT, Constant(1))


def test_a_long_chain_is_flat_and_quick():
    assert len(parse(" OR ".join(f"visit = {i}" for i in range(2000)), MODEL).parts) == 2000


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([1, 2], In(VISIT, (1, 2))),
        ((3,), In(VISIT, (3,))),
        (np.array([4, 5]), In(VISIT, (4, 5))),
        (range(10, 0, -3), In(VISIT, (), (Range(1, 10, 3),))),
        ([], In(VISIT)),
    ],
)
def test_lists_are_bound_as_a_whole_or_among_others(value, expected):
    assert parse("visit IN :visits", MODEL, bind={"visits": value}) == expected
    both = parse("visit IN (99, :visits)", MODEL, bind={"visits": value})
    assert both.values == (99, *expected.values)
    assert both.ranges == expected.ranges


def test_bound_values_are_never_read_as_expressions():
    hostile = "r' OR '1'='1"
    assert parse("band = :b", MODEL, bind={"b": hostile}) == eq(BAND, Constant(hostile))
    assert parse(str(parse("band = :b", MODEL, bind={"b": hostile})), MODEL) == eq(BAND, Constant(hostile))


@pytest.mark.parametrize("value", [np.int64(3), np.array(3), 3])
def test_numpy_numbers_are_bound_as_plain_ones(value):
    bound = parse("visit = :v", MODEL, bind={"v": value}).right.value
    assert type(bound) is int


@pytest.mark.parametrize(
    "text",
    [
        "'2026-01-05T06:00:00'",
        "'2026-01-05 06:00 UTC'",
        "'MJD 61045.25'",
        "'2026-01-05T06:00:37 TAI'",
        ":t",
        ":d",
    ],
)
def test_times_are_tai_nanoseconds_however_they_are_written(text):
    moment = dt.datetime(2026, 1, 5, 6, tzinfo=dt.UTC)
    found = parse(f"visit.obs_time < {text}", MODEL, bind={"t": Time("2026-01-05T06:00:00"), "d": moment})
    assert found == Compare(Comparison.LT, TIME, Constant(tai_ns("2026-01-05T06:00:00")))


def test_times_are_shown_as_they_were_written():
    text = "visit.obs_time BETWEEN '2026-01-01' AND 'MJD 61045.25 TAI'"
    assert str(parse(text, MODEL)) == text


# -- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "at", "says"),
    [
        ("visit =", 7, "expected a unit, a field, a value or '('; the expression ends here"),
        ("visit = 5 visit", 10, "expected AND, OR, an arithmetic sign (+ - * / %) or the end"),
        ("visit = 5)", 9, "closes no '('"),
        ("(visit = 5", 10, "')'; the expression ends here"),
        ("visit IN (1, 2", 14, "expected ',', '..' or ')'"),
        ("visit IN 5", 9, "expected a list"),
        ("visit = 1..5", 9, "A range stands in a list"),
        ("1 < visit < 5", 10, "not chained"),
        ("visit IS NULL", 6, "no IS NULL"),
        ("visit = 'x", 8, "no closing '"),
        ("visit = 5; DROP TABLE visit", 9, "';' is not understood"),
        ("visit = 5 && band = 'r'", 10, "write AND"),
        ("band = \u201cr\u201d", 7, "straight quotes"),
        ("visit = \U0001f600", 8, "not understood"),
        ("visit = 1\0", 9, "NUL"),
        ("band = '\ud800'", 8, "surrogate"),
        ("vist = 1", 0, "did you mean 'visit'?"),
        ("VISIT = 1", 0, "did you mean 'visit'?"),
        ("band = r", 7, "text stands in quotes: 'r'"),
        ("visit.exposure_tme = 1", 6, "did you mean 'exposure_time'?"),
        ("exposure_time > 30", 0, "written with its unit: visit.exposure_time"),
        ("band = 5", 7, "write it in quotes, '5'"),
        ("visit = '5'", 8, "without quotes"),
        ("visit IN (1, 'a')", 13, "cannot be compared"),
        ("visit IN (1, visit)", 13, "values, not names"),
        ("band IN (1..5)", 9, "a range is of whole numbers, and band is text"),
        ("visit IN ('a'..'b')", 10, "whole numbers"),
        ("visit IN (5..1)", 10, "is empty"),
        ("visit IN (1..5:0)", 15, "1 or more"),
        ("visit BETWEEN 5 AND 1", 14, "the smaller comes first"),
        ("visit LIKE '5%'", 0, "LIKE is for text"),
        ("band LIKE 5", 10, "a text in quotes on its right"),
        ("band GLOB '[a'", 10, "not closed"),
        ("band + 1 = 2", 0, "'+' is for numbers, and band is text"),
        ("visit.obs_time + 1 = 2", 0, "is for numbers"),
        ("-band = 2", 1, "only numbers have a sign"),
        ("visit / 0 = 1", 8, "divides by zero"),
        ("1 = 1", 0, "compares two constants"),
        ("visit = 1 OR TRUE", 13, "alone is no condition"),
        ("NOT band", 4, "alone is no condition"),
        ("(visit = 1) = 1", 1, "this is a condition"),
        ("visit.good < TRUE", 11, "have no order"),
        ("visit = 99999999999999999999", 8, "64 bits"),
        ("visit > 1e999", 8, "too large"),
        ("visit.obs_time > '2026-13-01'", 17, "bad month"),
        ("visit.obs_time > 'noon'", 17, "is not a time"),
        ("visit.obs_time > 1.5", 17, "write a time in quotes"),
        ("visit.obs_time > 61000", 17, "write it in quotes, 'MJD 61000'"),
        ("visit.obs_time BETWEEN 61000 AND 61001", 23, "TAI nanoseconds"),
        ("night = '5 Jan'", 8, "is not a date"),
        ("visit = :vists", 8, "not given (did you mean 'visits'?)"),
        ("visit = :visits", 8, "use it with IN"),
        ("visit IN :one", 9, "IN needs a list"),
        ("visit = :none", 8, "give a number"),
        ("visit = :nan", 8, "not a number"),
        ("visit IN :nested", 9, "list of lists"),
        ("visit.exposure_time > :long", 22, "is a quantity in 's'"),
        ("\n  visit = 1\n  AND vist = 2", 19, "\n    AND vist = 2\n        ^"),
    ],
)  # fmt: skip
def test_each_mistake_is_pointed_at_and_said_in_words(text, at, says):
    bind = {"visits": [1, 2], "one": 1, "none": None, "nan": float("nan"), "nested": [[1], [2]]}
    bind["long"] = 30 * units.s
    with pytest.raises(ExpressionError) as caught:
        parse(text, MODEL, bind=bind)
    assert says in str(caught.value)
    assert caught.value.position == at


@pytest.mark.parametrize(
    "text",
    [
        "(" * 10_000,
        "(" * 10_000 + "visit = 1" + ")" * 10_000,
        "NOT " * 10_000 + "visit = 1",
        "-" * 10_000 + "visit = 1",
        "visit" + " + visit" * 10_000 + " = 1",
        "visit IN " * 10_000,
        "9" * 100_000,
        "x" * 100_000,
        "visit = 1" + " " * MAX_LENGTH,
        "'" * 10_001,
    ],
    ids=lambda text: text[:12],
)
def test_monstrous_input_gives_a_short_error(text):
    with pytest.raises(ExpressionError) as caught:
        parse(text, MODEL)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("text", [None, 5, b"visit = 1"])
def test_what_is_no_text_is_refused(text):
    with pytest.raises(ExpressionError, match="an expression is text"):
        parse(text, MODEL)


_WORDS = [
    "visit",
    "band",
    ".good",
    "AND",
    "or",
    "Not",
    "IN",
    "BETWEEN",
    "like",
    "glob",
    "true",
    "(",
    ")",
    ",",
    "..",
    ":",
    ":v",
    "=",
    "<",
    "!=",
    "+",
    "-",
    "*",
    "/",
    "%",
    "'a'",
    '"',
    "1",
    "2.5",
    "1e5",
    ".",
    "night",
    "'2026-01-01'",
    "visit.obs_time",
    "visit.count",
]


@settings(max_examples=300, deadline=None)
@given(st.text() | st.lists(st.sampled_from(_WORDS)).map(" ".join) | st.text("viste()='1.,:<%- \n"))
def test_any_text_is_understood_or_refused_as_an_expression(text):
    try:
        condition = parse(text, MODEL, bind={"v": [1, 2]})
    except ExpressionError as error:
        refusal = error
    else:
        assert condition is None or parse(str(condition), MODEL) == condition
        return
    assert 0 <= refusal.position <= len(text)
    assert not any(name in str(refusal) for name in ("_OPEN", "COMPARISON", "$END", "INTEGER"))


# -- conditions survive being written and read ---------------------------------------------------

_INTS = st.integers(-(2**63) + 1, 2**63 - 1)
_FLOATS = st.floats(allow_nan=False, allow_infinity=False)
_TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
_TIMES = st.integers(10**14, 9 * 10**18).map(Constant)
_numbers = st.recursive(
    st.sampled_from([VISIT, Name("visit", "count"), Name("visit", "exposure_time")]),
    lambda inner: st.one_of(
        inner.map(Negative),
        st.builds(Arithmetic, st.sampled_from("+-*"), inner, inner | _INTS.map(Constant)),
        st.builds(Arithmetic, st.sampled_from("/%"), _FLOATS.map(Constant), inner),
    ),
    max_leaves=4,
)
_texts = st.sampled_from([BAND, Name("visit", "object")])


def _between(operands, values):
    ordered = st.tuples(values, values).map(sorted)
    return st.builds(lambda o, pair: Between(o, *map(Constant, pair)), operands, ordered)


def _range(first, length, step):
    return Range(first, first + length, step)


_any = st.sampled_from(Comparison)
_leaves = st.one_of(
    st.builds(Compare, _any, _numbers, _numbers | _INTS.map(Constant) | _FLOATS.map(Constant)),
    st.builds(Compare, _any, _texts, _texts | _TEXTS.map(Constant)),
    st.builds(Compare, _any, st.just(TIME), _TIMES),
    st.builds(eq, st.just(NIGHT), st.dates().map(lambda d: Constant(d.isoformat()))),
    st.builds(eq, st.just(Name("visit", "good")), st.booleans().map(Constant)),
    st.builds(
        In,
        st.just(VISIT),
        st.lists(_INTS, unique=True).map(tuple),
        st.lists(
            st.builds(_range, st.integers(-99, 99), st.integers(0, 99), st.integers(1, 9)), max_size=3
        ).map(tuple),
    ),
    st.builds(In, _texts, st.lists(_TEXTS, unique=True).map(tuple)),
    _between(_numbers, _INTS),
    _between(_texts, _TEXTS),
    st.builds(Like, _texts, _TEXTS.filter(lambda t: "[" not in t)),
)


def _joined(kind):
    def join(parts):
        flat = [p for part in parts for p in (part.parts if isinstance(part, kind) else [part])]
        return kind(tuple(flat))

    return join


_conditions = st.recursive(
    _leaves,
    lambda inner: st.one_of(
        inner.map(Not),
        st.lists(inner, min_size=2, max_size=3).map(_joined(And)),
        st.lists(inner, min_size=2, max_size=3).map(_joined(Or)),
    ),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(_conditions)
def test_a_condition_survives_being_written_and_read(condition):
    assert parse(str(condition), MODEL) == condition


# -- and mean what they say ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("visit IN (1..4:3)", [1, 4]),
        ("visit % 2 = 0", [2, 4]),
        ("visit / 2 > 1 AND NOT visit = 4", [3]),
        ("band = 'r'", [1, 2, 4]),
        ("band LIKE 'R%'", [4]),
        ("band >= 'r' AND visit <= 3", [1, 2]),
        ("NOT band = 'r'", [3, 4]),
        ("band IN ('i', 'r')", [1, 2, 3, 4]),
        ("1 / (visit - 1) > 0.6", [1, 2]),
    ],
)
def test_on_columns_only_what_is_false_is_left_out(text, expected):
    visits = np.array([1, 2, 3, 4])
    bands = np.array(["r", "r", "i", None], dtype=object)

    def resolve(name):
        return (visits, None) if name == VISIT else (bands, np.array([False, False, False, True]))

    assert list(visits[evaluate(parse(text, MODEL), resolve)]) == expected


def test_the_imaging_model_speaks():
    text = "exposure.obs_type IN ('bias', 'dark') AND visit IN (1..10) AND band = 'r' AND patch < 3"
    assert len(parse(text, IMAGING).parts) == 4


def test_reading_an_expression_imports_no_astropy_unless_times_are_named():
    code = (
        "import sys; from graphbuilder.expressions.language import parse; from supertask.units import *\n"
        "parse('visit IN (1..3)', UnitModel('m', (Unit('visit'),)))\n"
        "assert not {'astropy', 'sqlalchemy', 'shapely'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)

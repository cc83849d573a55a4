"""Expressions as databases and columns tell them, against a plain Python reading of the same."""

from __future__ import annotations

import fnmatch
import operator
import re
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from graphbuilder.expressions.language import parse
from graphbuilder.loading.lookups import condition_for
from supertask.butler.memory import InMemoryButler
from supertask.butler.repository import Butler
from supertask.errors import ExpressionError
from supertask.testing import postgres

HOSTILE = [
    "M31",
    "m31",
    "it's",
    "'; DROP TABLE unit_visit; --",
    'say "no"',
    "100%",
    "a_b",
    "[a-z]*?",
    "\\",
    "Ω Centauri",
    "",
    "%s %(x)s :name {0}",
]
ROWS = [
    {
        "instrument": "Cam",
        "visit": v,
        "exposure_time": None if v % 5 == 0 else v * 2.5,
        "airmass": None if v % 7 == 0 else 1 + v / 10,
        "object": None if v == 3 else HOSTILE[v % len(HOSTILE)],
        "physical_filter": None if v % 4 == 3 else ("R1", "G1")[v % 2],
    }
    for v in range(14)
]
BANDS = {"R1": "r", "G1": "g", None: None}


def filled(butler: Any) -> Any:
    butler.insert_units("instrument", [{"instrument": "Cam"}])
    butler.insert_units("band", [{"band": "g"}, {"band": "r"}])
    butler.insert_units(
        "physical_filter",
        [{"instrument": "Cam", "physical_filter": f, "band": b} for f, b in BANDS.items() if f],
    )
    butler.insert_units("visit", [{k: v for k, v in row.items() if v is not None} for row in ROWS])
    return butler


@pytest.fixture(scope="module")
def butlers(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Yield the repository in memory, on SQLite, and on PostgreSQL where there is one."""
    folder = tmp_path_factory.mktemp("naive")
    with ExitStack() as opened:
        made = [InMemoryButler("imaging"), opened.enter_context(Butler.create(folder / "sqlite"))]
        if not postgres.why_not():
            url = opened.enter_context(postgres.server()).url
            made.append(opened.enter_context(Butler.create(folder / "postgres", registry=url)))
        yield [filled(butler) for butler in made]


# Each part is its text and a function of a row that gives True, False, or None where it cannot be told.
NUMBERS = {
    "visit": lambda row: row["visit"],
    "visit.exposure_time": lambda row: row["exposure_time"],
    "visit.airmass": lambda row: row["airmass"],
}
TEXTS = {
    "visit.object": lambda row: row["object"],
    "physical_filter": lambda row: row["physical_filter"],
    "band": lambda row: BANDS[row["physical_filter"]],
}
COMPARE = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
number = st.one_of(st.integers(-3, 15), st.sampled_from([0.5, 2.5, 12.5, 1.3]))
text = st.sampled_from([*HOSTILE, "r", "g", "R1"])
pattern = st.one_of(text, st.text("M31ab%_*?[]' ", max_size=5))


def quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def known(*functions: Any) -> Any:
    """Return a function that applies the last of these to what the others give, None if any is null."""
    *values, apply = functions

    def told(row: Any) -> Any:
        given = [v(row) for v in values]
        return None if None in given else apply(*given)

    return told


@st.composite
def sums(draw: Any) -> Any:
    name = draw(st.sampled_from(sorted(NUMBERS)))
    value = NUMBERS[name]
    for _ in range(draw(st.integers(0, 2))):
        op, by = draw(st.sampled_from("+-*")), draw(st.integers(1, 4))
        function = {"+": operator.add, "-": operator.sub, "*": operator.mul}[op]
        name, value = f"({name} {op} {by})", known(value, lambda v, f=function, by=by: f(v, by))
    return name, value


@st.composite
def single(draw: Any) -> Any:
    kind = draw(st.sampled_from(["number", "between", "ranges", "modulo", "text", "texts", "like", "glob"]))
    if kind in ("number", "between"):
        name, value = draw(sums())
        if kind == "number":
            op, than = draw(st.sampled_from(sorted(COMPARE))), draw(number)
            return f"{name} {op} {than}", known(value, lambda v: COMPARE[op](v, than))
        low, high = sorted([draw(number), draw(number)])
        return f"{name} BETWEEN {low} AND {high}", known(value, lambda v: low <= v <= high)
    if kind == "ranges":
        first, step, values = (
            draw(st.integers(-2, 9)),
            draw(st.integers(1, 3)),
            draw(st.lists(number, max_size=3)),
        )
        last = first + draw(st.integers(0, 6))
        members = {*range(first, last + 1, step), *values}
        listed = ", ".join([f"{first}..{last}:{step}", *map(str, values)])
        return f"visit IN ({listed})", known(NUMBERS["visit"], members.__contains__)
    if kind == "modulo":
        by, rest = draw(st.sampled_from([2, 3, -3])), draw(st.integers(-2, 2))
        return f"visit % {by} = {rest}", known(NUMBERS["visit"], lambda v: v % by == rest)
    name = draw(st.sampled_from(sorted(TEXTS)))
    value = TEXTS[name]
    if kind == "text":
        op, than = draw(st.sampled_from(sorted(COMPARE))), draw(text)
        return f"{name} {op} {quoted(than)}", known(value, lambda v: COMPARE[op](v, than))
    if kind == "texts":
        members = draw(st.lists(text, max_size=4))
        return f"{name} IN ({', '.join(map(quoted, members))})", known(value, members.__contains__)
    wanted = draw(pattern)
    if kind == "glob":
        return f"{name} GLOB {quoted(wanted)}", known(value, lambda v: fnmatch.fnmatchcase(v, wanted))
    regular = "".join({"%": ".*", "_": "."}.get(c, re.escape(c)) for c in wanted)
    return f"{name} LIKE {quoted(wanted)}", known(
        value, lambda v: re.fullmatch(regular, v, re.DOTALL) is not None
    )


def negation(part: Any) -> Any:
    words, told = part
    return f"NOT ({words})", lambda row: None if told(row) is None else not told(row)


def junction(word: str, parts: Any) -> Any:
    deciding = word == "OR"

    def told(row: Any) -> Any:
        values = [part(row) for _, part in parts]
        return deciding if deciding in values else None if None in values else not deciding

    return f" {word} ".join(f"({words})" for words, _ in parts), told


expressions = st.recursive(
    single(),
    lambda inner: st.one_of(
        inner.map(negation),
        st.lists(inner, min_size=2, max_size=3).map(lambda p: junction("AND", p)),
        st.lists(inner, min_size=2, max_size=3).map(lambda p: junction("OR", p)),
    ),
    max_leaves=6,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(expression=expressions)
@example(expression=("visit IN (0..0:1, 0, 2.5)", lambda row: row["visit"] == 0))
def test_every_reader_agrees_with_plain_python(butlers, expression):
    words, told = expression
    try:
        condition = parse(words, butlers[0].model)
    except ExpressionError as error:
        # The patterns drawn may open a bracket and never close it.
        assert "is not closed" in str(error)  # noqa: PT017 - most that is drawn is no error
        return
    expected = [row["visit"] for row in ROWS if told(row) is not False]
    for butler in butlers:
        assert [row["visit"] for row in butler.units("visit", condition)] == expected, words


@given(value=st.text(max_size=30), data=st.data())
@settings(deadline=None)
def test_no_text_is_ever_more_than_a_value(butlers, value, data):
    hostile = data.draw(st.sampled_from([value, *HOSTILE]))
    for butler in butlers:
        try:
            conditions = [
                condition_for(f"visit.object = {quoted(hostile)}", butler),
                condition_for("visit.object IN :those", butler, bind={"those": [hostile]}),
            ]
        except ExpressionError as error:
            assert "NUL" in str(error) or "surrogate" in str(error)  # noqa: PT017 - as above
            continue
        for condition in conditions:
            found = {row["object"] for row in butler.units("visit", condition)}
            assert found <= {hostile, None}
            assert (hostile in found) == (hostile in {row["object"] for row in ROWS})
        assert len(butler.units("visit")) == len(ROWS)


@given(keys=st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 13), max_size=6))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_table_of_keys_is_the_list_of_them(butlers, tmp_path: Path, keys):
    path = tmp_path / "keys.csv"
    path.write_text("\n".join(["visit", *map(str, keys)]) + "\n")
    for butler in butlers:
        for negated in ("", "NOT "):
            condition = condition_for(f"visit {negated}IN TABLE '{path}'", butler)
            expected = [r["visit"] for r in ROWS if (r["visit"] in keys) is not bool(negated)]
            assert [row["visit"] for row in butler.units("visit", condition)] == expected

"""Keys found in columns are those found by reading every text as JSON, whatever values there are."""

from __future__ import annotations

import json
from typing import Any

import attrs
import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from plans import layered

from graphbuilder.batching import texts
from graphbuilder.batching.keys import overhead_keys
from graphbuilder.batching.texts import Texts
from graphbuilder.dag.columns import StringColumn
from graphbuilder.dag.parameters import ParameterColumn
from supertask.tasks.overheads import OverheadNames

CASES = settings(max_examples=300, deadline=None)
NAMES = ("a", "guess", "threads", "class")
SCALARS = st.one_of(
    st.sampled_from([0, 1, 1.0, True, None, "1", "", "a|b", '"a": 1', "\\", "}", ", ", "[1", "é", '"']),
    st.integers(),
    st.floats(),
    st.text(max_size=12),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["a", "x"]), inner, max_size=2)
    ),
    max_leaves=4,
)
PLAIN = st.sampled_from([0, 1, 1.0, True, None, "1", "one", "some text that is longer", [1.5, 2], [1, 2.5]])


@st.composite
def rows(draw: Any, values: Any) -> list[dict[str, Any] | None]:
    classes = draw(st.sampled_from([["m:A"], ["m:A", "m:B"], ["m:A", None]]))
    pool = draw(st.lists(st.fixed_dictionaries(dict.fromkeys(NAMES, values)), min_size=1, max_size=4))
    made = []
    for _ in range(draw(st.integers(1, 12))):
        of = draw(st.sampled_from(classes))
        own = draw(st.sampled_from(pool))
        if draw(st.booleans()):
            own = {**own, draw(st.sampled_from(NAMES)): draw(values)}
        # As plans say them: in the order of the fields of their class.
        made.append(None if of is None else {"class": of, "values": {name: own[name] for name in NAMES}})
    return made


WAYS = [
    OverheadNames(),
    OverheadNames(meta=("threads",)),
    OverheadNames(meta=("threads", "a")),
    OverheadNames((), ("a",), (), True, ("threads",)),
    OverheadNames((), ("guess", "a"), (), True),
    OverheadNames((), ("class",), (), True),
    OverheadNames((), ("missing",), (), True),
]


def wanted(said: dict[str, Any] | None, names: OverheadNames) -> str:
    """Return the key of one, by reading it."""
    if said is None:
        return ""
    own = said["values"]
    kept = {
        n: v for n, v in own.items() if (n in names.parameters if names.declared else n not in names.meta)
    }
    return json.dumps([said["class"], kept], sort_keys=True)


def found(said: list[dict[str, Any] | None], names: OverheadNames) -> list[int]:
    dag = layered([len(said)], [], overhead=names)
    column = ParameterColumn(StringColumn.from_strings(map(json.dumps, said)))
    dag.quantum_tables = (attrs.evolve(dag.quantum_tables[0], parameters=column),)
    return overhead_keys(dag).tolist()


def check(said: list[dict[str, Any] | None]) -> None:
    for names in WAYS:
        keys = [wanted(each, names) for each in said]
        codes = found(said, names)
        assert [[a == b for b in codes] for a in codes] == [[a == b for b in keys] for a in keys], names


@CASES
@given(rows(VALUES))
def test_whatever_values_there_are(said):
    check(said)


@CASES
@given(rows(PLAIN))
@example([{"class": "m:A", "values": {name: [] for name in NAMES}}] * 2)
def test_values_that_are_read_in_columns(said):
    check(said)


def test_numbers_texts_and_lists_are_found_where_they_stand():
    said = [
        {"class": "m:A", "values": {"a": a, "guess": g, "n": n}}
        for a, g, n in [(1, [1.0, 2], "x"), (-1.5e-300, [], "a longer text, with a comma"), (None, ["a"], "")]
    ]
    column = StringColumn.from_strings(map(json.dumps, said))
    whole = Texts(column)
    data = whole.heap.tobytes()

    def values(name: str) -> list[Any] | None:
        span = whole.fields(name)
        return None if span is None else [json.loads(data[a:b]) for a, b in zip(*span, strict=True)]

    assert values("a") == [1, -1.5e-300, None]
    assert values("n") == ["x", "a longer text, with a comma", ""]
    assert values("guess") == [[1.0, 2], [], ["a"]]
    assert values("b") is None
    assert values("class") == ["m:A"] * 3


def test_what_looks_like_a_key_is_none():
    def made(*said):
        return Texts(StringColumn.from_strings(json.dumps({"class": "m:A", "values": v}) for v in said))

    whole = made({"a": '"b": 1', "b": '", "b": '}, {"a": "x", "b": ""})
    begin, end = whole.fields("b")
    data = whole.heap.tobytes()
    assert [json.loads(data[a:b]) for a, b in zip(begin, end, strict=True)] == ['", "b": ', ""]
    assert made({"a": 1, "b": 1}, {"a": ":", "b": 1}).fields("a") is None, "a text that begins with a colon"
    assert made({"a": 1, "b": 1}, {"c": ":"}).fields("b") is None
    assert made({"a": 1, "b": 1}, {"b": 1, "a": 1}).fields("a") is None, "in another order"
    assert made({"a": 1, "class": 1}, {"a": 2, "class": 2}).fields("class") is None


def test_texts_of_one_hash_are_still_told_apart(monkeypatch):
    """A key of hashes alone merges what collides, and nobody hears of it."""
    monkeypatch.setattr(texts, "_PRIME", np.uint64(0))
    monkeypatch.setattr(texts, "_BETWEEN", np.uint64(0))
    whole = Texts(StringColumn.from_strings(["one", "two", "one", "three"]))
    assert whole.codes([(whole.starts, whole.stops)]).tolist() == [0, 1, 0, 2]


def test_many_texts_are_compared_block_by_block():
    n = 3 * texts._BLOCK + 17
    made = [f"{'x' * (i % 7)}{i % 1000}" for i in range(n)]
    whole = Texts(StringColumn.from_strings(made))
    known: dict[str, int] = {}
    assert whole.codes([(whole.starts, whole.stops)]).tolist() == [
        known.setdefault(t, len(known)) for t in made
    ]

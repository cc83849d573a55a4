from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supertask.yamlfiles.text import Place, Scalar, YamlError, dump, load, load_file, load_untyped

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.sampled_from(
        [
            "no",
            "on",
            "1e-3",
            "12:30:45",
            "2026-01-05",
            "0x1f",
            "0o17",
            "null",
            "~",
            ".inf",
            "1_000",
            "<<",
            "=",
            "- a",
            "a: b",
            "# x",
            "",
            " ",
            "a\nb",
            "\t",
            "0b1",
            "+1",
            ".5",
            "1.",
        ]
    )
)
plain = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)


@given(plain)
def test_what_is_written_reads_back_equal_and_of_the_same_types(value):
    found = load(dump(value)).value
    assert found == value
    assert repr(found) == repr(value)


def test_nan_reads_back_as_nan():
    assert math.isnan(load(dump([math.nan])).value[0])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("12:30:45", "12:30:45"),
        ("2026-01-05", "2026-01-05"),
        ("1e-3", 1e-3),
        ("1_000", "1_000"),
        ("true", True),
        ("True", True),
        ("0o17", 15),
        ("017", 17),
        ("0x1f", 31),
        ("~", None),
        ("", None),
        ("-.inf", -math.inf),
        (".5", 0.5),
        ("1.", 1.0),
        ("+3", 3),
        ("'3'", "3"),
    ],
)
def test_words_mean_what_the_core_schema_says(text, value):
    found = load(text).value
    assert found == value
    assert type(found) is type(value)


def test_every_value_knows_its_place():
    document = load("tasks:\n  isr:\n    class: a:B\n    config: {x: 1, y: [2,\n      3]}\n", "p.yaml")
    assert document.at("tasks", "isr", "class") == "p.yaml:3:5"
    assert document.at("tasks", "isr", "config", "y", 1) == "p.yaml:5:7"
    assert document.place("tasks", "isr", "other") == Place(2, 3)
    assert document.place("nothing") == Place(1, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2", "t:2:1: the key 'a' is here a second time"),
        ("a: [1", r"t:\d:\d: this is not plain YAML: "),
        ("!!python/object:os.system {}", "t:1:1: this is not plain YAML: could not determine a constructor"),
        ("a: &x [*x]", "t:1:4: this anchor holds itself"),
        ("a: 1\n---\nb: 2", "this is not plain YAML"),
        ("[" * 5000, "this is nested too deeply|this is not plain YAML"),
        ("a: \x00", "this is not plain YAML"),
    ],
)
def test_what_is_not_plain_is_refused_with_its_place(text, message):
    with pytest.raises(YamlError, match=message):
        load(text, "t")


def _laughs(levels):
    lines = [f"l{i + 1}: &l{i + 1} [{', '.join([f'*l{i}'] * 10)}]" for i in range(levels)]
    return "\n".join(["l0: &l0 lol", *lines])


def test_some_aliases_of_aliases_cost_nothing():
    assert len(load(_laughs(4)).places) < 1000


def test_a_few_lines_that_stand_for_billions_of_values_are_refused():
    with pytest.raises(
        YamlError, match=r"t:8:5: with its aliases written out this has over 2,000,000 values"
    ):
        load(_laughs(9), "t")


def test_a_number_longer_than_any_setting_is_refused_with_its_place():
    with pytest.raises(YamlError, match=r"t:1:4: .*a number of 5000 digits"):
        load(f"a: {'9' * 5000}", "t")


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(YamlError, match=r"cannot read .*none\.yaml"):
        load_file(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(YamlError, match=r"binary\.yaml"):
        load_file(tmp_path / "binary.yaml")


def test_words_can_be_left_untyped():
    assert load_untyped("{a: [1, '2', x]}") == {"a": [Scalar("1"), Scalar("2", quoted=True), Scalar("x")]}
    assert load_untyped("") == Scalar("")
    for bad in ("[1", "{[1]: 2}"):
        with pytest.raises(YamlError):
            load_untyped(bad)

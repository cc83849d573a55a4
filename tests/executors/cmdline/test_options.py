from __future__ import annotations

import pytest

from executors.cmdline.options import parse_binds, words
from supertask.errors import ConfigError


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("n=3", 3),
        ("n=-2.5", -2.5),
        ("n=1e3", 1000.0),
        ("n=r", "r"),
        ("n='3'", "3"),
        ("n=", ""),
        ("n=a=b", "a=b"),
    ],
)
def test_binds_are_numbers_where_they_read_as_one(word: str, value: object) -> None:
    found = parse_binds([word])["n"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("word", ["n", "=3", "a b=3"])
def test_bind_without_a_name_is_refused(word: str) -> None:
    with pytest.raises(ConfigError, match="write NAME=VALUE"):
        parse_binds([word])


def test_bind_given_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="given twice"):
        parse_binds(["a=1", "a=2"])


def test_commas_and_blanks_separate_collections() -> None:
    assert words(" raw/all, ,calib ") == ("raw/all", "calib")
    assert words(None) is None

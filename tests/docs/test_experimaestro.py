"""What the page on experimaestro says of tests and examples is so: they are there."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reference" / "experimaestro.md"


def rows(title: str) -> list[list[str]]:
    """Return the cells of the table under a heading."""
    section = PAGE.read_text(encoding="utf-8").partition(f"## {title}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


FEATURES, FAULTS = rows("Features"), rows("Faults")


@cache
def names_in(path: Path) -> frozenset[str]:
    found = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return frozenset(f.name for f in found if isinstance(f, ast.FunctionDef) and f.name.startswith("test_"))


def test_the_tables_are_read():
    assert len(FEATURES) > 20
    assert len(FAULTS) > 15
    assert {len(row) for row in FEATURES} == {4}
    assert {len(row) for row in FAULTS} == {3}


@pytest.mark.parametrize("row", [*FEATURES, *FAULTS], ids=lambda row: row[0])
def test_each_row_names_a_test_that_there_is(row):
    name = row[-1].strip("`").rstrip(" |`")
    path, _, test = name.partition("::")
    assert (ROOT / path).is_file(), name
    assert test in names_in(ROOT / path) if test else names_in(ROOT / path), name


@pytest.mark.parametrize("row", FEATURES, ids=lambda row: row[0])
def test_each_feature_is_shown_where_it_says(row):
    target = re.search(r"\]\(([^)#]+)", row[2])
    text = (PAGE.parent / target[1]).resolve().read_text(encoding="utf-8")
    words = [word.split("(")[0].rstrip("…, ") for word in re.findall(r"`([^`]+)`", row[1])]
    assert not words or any(word and word in text for word in words), row[1]

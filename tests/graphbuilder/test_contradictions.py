from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphbuilder.expressions.contradictions import contradiction
from graphbuilder.expressions.language import parse
from graphbuilder.loading.lookups import condition_for
from supertask.butler.memory import InMemoryButler
from supertask.conditions import And, evaluate
from supertask.errors import ExpressionError
from supertask.unitmodels import load_unit_model

IMAGING = load_unit_model("imaging")


@pytest.mark.parametrize(
    "text",
    [
        "visit = 1 AND visit = 2",
        "visit IN (1..10) AND band = 'r' AND visit IN (11, 12)",
        "band = 'r' AND NOT band = 'r'",
        "band = 'r' AND band LIKE 'g%'",
        "visit > 5 AND visit < 5",
        "visit >= 6 AND 5 > visit",
        "visit.exposure_time > 30 AND visit.exposure_time BETWEEN 1 AND 20",
        "visit.obs_time > '2026-02-01' AND visit.obs_time < '2026-01-01'",
        "visit IN (1..10) AND visit IN (1..9:2) AND visit % 2 = 0",
        "band = 'r' AND band IN ('g', 'i')",
        "visit = 7 AND visit > 8 AND detector = 1",
    ],
)
def test_what_can_never_hold_together_is_told(text):
    with pytest.raises(ExpressionError, match="contradicts itself"):
        condition_for(text, InMemoryButler("imaging"))


@pytest.mark.parametrize(
    "text",
    [
        "visit = 1 OR visit = 2",
        "visit >= 5 AND visit <= 5",
        "visit = 1 AND exposure = 2",
        "visit IN () AND visit = 1",
        "visit != 1 AND visit != 2",
        "band > 'g' AND band < 'r'",
        "visit = 1 AND visit = 1",
        "visit = 3 AND visit.exposure_time > 4",
        "NOT (visit = 1 AND visit = 2)",
    ],
)
def test_what_may_hold_is_left_to_the_repository(text):
    assert condition_for(text, InMemoryButler("imaging")) is not None


VALUE = st.integers(-3, 4)
PART = st.one_of(
    st.builds("visit {} {}".format, st.sampled_from(["=", "!=", "<", "<=", ">", ">="]), VALUE),
    st.builds("{} {} visit".format, VALUE, st.sampled_from(["=", "<", "<=", ">", ">="])),
    st.builds(lambda a, b: f"visit BETWEEN {min(a, b)} AND {max(a, b)}", VALUE, VALUE),
    st.builds(lambda a, b, s: f"visit IN ({min(a, b)}..{max(a, b)}:{s})", VALUE, VALUE, st.integers(1, 3)),
    st.builds(lambda v: f"visit NOT IN ({', '.join(map(str, v))})", st.lists(VALUE, min_size=1, max_size=4)),
    st.builds(lambda v: f"visit % 2 = {v}", st.integers(0, 1)),
)


@given(st.lists(PART, min_size=2, max_size=4))
def test_no_value_fulfils_what_is_called_a_contradiction(parts):
    import numpy as np

    never = contradiction(parse(" AND ".join(parts), IMAGING))
    if never is not None:
        column = np.arange(-20, 20)
        assert not evaluate(And(tuple(never)), lambda name: (column, None)).any()

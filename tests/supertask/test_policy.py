from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supertask.configs.config import field
from supertask.configs.identities import task_key
from supertask.configs.policy import (
    FailureClass,
    FailurePolicy,
    Retries,
    parse_share,
    parse_size,
    say_share,
    say_size,
)
from supertask.connections.fields import InputField, SuperTaskConfig
from supertask.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("2 GB", 2_000_000_000),
        ("500M", 500_000_000),
        ("1.5 GiB", 3 << 29),
        ("64KiB", 65536),
        ("64kB", 64000),
        ("1e6", 1_000_000),
        ("12", 12),
    ],
)
def test_sizes_are_read_as_people_write_them(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "much", "2 XB", "-1 GB", "0", "1 GB 2"])
def test_what_is_no_size_is_refused_with_examples(text):
    with pytest.raises(ConfigError, match="is not a size: write 2 GB"):
        parse_size(text)


@given(st.integers(1, 10**14))
def test_a_size_in_words_is_nearly_the_size(size):
    assert parse_size(say_size(size)) == pytest.approx(size, rel=0.006)


@pytest.mark.parametrize(("text", "share"), [("12", 12), ("80%", 0.8), ("2.5 %", 0.025), ("100%", 1.0)])
def test_shares_are_numbers_or_percentages(text, share):
    assert parse_share(text) == share
    assert type(parse_share(text)) is type(share)
    assert parse_share(say_share(share)) == share


@pytest.mark.parametrize("text", ["", "0", "0%", "101%", "1.5", "half", "-1"])
def test_what_is_no_share_is_refused_with_examples(text):
    with pytest.raises(ConfigError, match="neither a number nor a share: write 12 or 80%"):
        parse_share(text)


def test_a_policy_names_all_that_is_wrong_with_it():
    with pytest.raises(ConfigError) as caught:
        FailurePolicy(timeout=0.0, memory="much", quorum="200%")
    for word in (
        "timeout: must be more than 0 s",
        "memory: 'much' is not a size",
        "quorum: '200%' is neither",
    ):
        assert word in str(caught.value)
    with pytest.raises(ConfigError, match=r"retries.error: must be at least 0"):
        FailurePolicy(retries={"error": -1})


def test_bad_input_is_never_tried_again():
    assert Retries(error=5).of(FailureClass.ERROR) == 5
    assert Retries().of(FailureClass.BAD_INPUT) == 0


class PlainConfig(SuperTaskConfig):
    level: int = field(1, doc="Of something.")


class PatientConfig(SuperTaskConfig):
    level: int = field(1, doc="Of something.")
    policy: FailurePolicy = field(
        FailurePolicy(timeout=60.0), doc="Frames that take longer are broken.", meta=True
    )


def test_a_policy_enters_no_identity_whoever_sets_it():
    keys = {
        task_key("m:Task", "", config)
        for config in (
            PlainConfig(),
            PlainConfig(policy={"memory": "2 GB"}),
            PlainConfig().apply_override("policy.retries.error", "3"),
            PatientConfig(),
        )
    }
    assert len(keys) == 1
    assert task_key("m:Task", "", PlainConfig(level=2)) not in keys


def test_an_author_gives_other_defaults_and_users_lay_theirs_over_these():
    config = PatientConfig(policy={"memory": "2 GB"})
    assert (config.policy.timeout, config.policy.memory_bytes) == (60.0, 2_000_000_000)
    assert list(PatientConfig.config_fields) == ["level", "policy"]


@pytest.mark.parametrize("quorum", [0, 1.5, -1, True, "80%"])
def test_a_quorum_is_a_number_or_a_share(quorum):
    with pytest.raises(ConfigError, match="quorum must be a number"):

        class Config(SuperTaskConfig):
            image = InputField(units=("visit",), storage="json", doc="Frames.", quorum=quorum)

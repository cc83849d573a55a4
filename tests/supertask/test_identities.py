from __future__ import annotations

import enum
import json
import math
import os
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.units import Quantity
from hypothesis import given
from hypothesis import strategies as st

from supertask.configs.config import Config, field
from supertask.configs.identities import IdentityError, canonical, digest, task_key
from supertask.connections.fields import InputField, OutputField, SuperTaskConfig
from supertask.errors import ConfigError
from supertask.kinds.frozen import FrozenDict, FrozenList
from supertask.tasks.configurable import ConfigurableField
from supertask.tasks.task import Task


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Mood(enum.IntEnum):
    GOOD = 1


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.sampled_from(Colour)
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text() | st.integers(), inner, max_size=3)
        | st.frozensets(scalars, max_size=3)
    ),
    max_leaves=8,
)


def same(a, b):
    """What two values being the same means, said another way than by encoding them."""
    if isinstance(a, bool | enum.Enum) or isinstance(b, bool | enum.Enum):
        return a is b
    if isinstance(a, float) and isinstance(b, float):
        return (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1, a) == math.copysign(1, b))
    if type(a) is not type(b):
        return False
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return len(a) == len(b) and all(
            any(same(k, other) and same(a[k], b[other]) for other in b) for k in a
        )
    if isinstance(a, frozenset):
        return len(a) == len(b) and all(any(same(x, y) for y in b) for x in a)
    return a == b


@given(values, values)
def test_encodings_are_equal_exactly_if_values_are(a, b):
    assert (canonical(a) == canonical(b)) == same(a, b)
    assert canonical(a) == canonical(a)


@given(st.lists(scalars, max_size=4), st.lists(scalars, max_size=4))
def test_how_things_are_divided_counts(a, b):
    assert (canonical([a, b]) == canonical([[*a, *b], []])) == (not b)


@given(st.dictionaries(st.text(), values, max_size=5), st.randoms())
def test_the_order_of_a_dict_is_nothing(mapping, random):
    items = list(mapping.items())
    random.shuffle(items)
    assert canonical(dict(items)) == canonical(mapping)


def test_alike_is_not_the_same():
    alike = [
        1,
        1.0,
        "1",
        True,
        b"1",
        Colour.RED,
        Mood.GOOD,
        [1],
        {1},
        {1: 1},
        Path("1"),
        Quantity(1),
        None,
        "None",
        0.0,
        -0.0,
        0,
        False,
        [],
        {},
        "",
        b"",
        frozenset(),
        math.nan,
        math.inf,
        -math.inf,
        2**64,
        -(2**64),
    ]
    assert len({canonical(v) for v in alike}) == len(alike)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ([1, 2], (1, 2)),
        ([1, 2], FrozenList([1, 2])),
        ({"a": 1}, FrozenDict(a=1)),
        ({1, 2}, frozenset({2, 1})),
        (np.int16(3), 3),
        (np.float64(0.1), 0.1),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (np.array(3.0), 3.0),
        (math.nan, np.float64("nan")),
        (math.nan, -math.nan),
        (Quantity(1, "km"), Quantity(1000, "m")),
        (Quantity(0.1, "km"), Quantity(100, "m")),
        (Quantity(180, "deg"), Quantity(math.pi, "rad")),
        (Path("a//b/"), Path("a/b")),
        (np.array([1, 2], "i2"), np.array([1, 2], "i8")),
        (Quantity([1, 2], "km"), Quantity([1000, 2000], "m")),
    ],
)
def test_what_means_nothing_does_not_show(a, b):
    assert canonical(a) == canonical(b)


UNITS = [
    ("km", "cm"),
    ("deg", "arcsec"),
    ("hourangle", "arcmin"),
    ("s", "d"),
    ("nm", "AA"),
    ("Jy", "mJy"),
    ("adu", "adu"),
]


@given(st.decimals(-1000, 1000, places=6), st.decimals(-1000, 1000, places=6), st.sampled_from(UNITS))
def test_quantities_are_equal_exactly_if_they_are_in_any_unit(a, b, units):
    one, other = Quantity(float(a), units[0]), Quantity(float(b), units[0]).to(units[1])
    assert (canonical(one) == canonical(other)) == (a == b)


def test_the_shape_of_an_array_counts():
    assert canonical(np.zeros((2, 3))) != canonical(np.zeros((3, 2)))


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (object(), "value"),
        ({"a": [1, object()]}, r"value\['a'\]\[1\]"),
        ({object(): 1}, "a key of value"),
        (lambda: 1, "value"),
        ([np.array([object()])], r"value\[0\]"),
        (1j, "value"),
        ({(1, 1j): 2}, "a key of value"),
    ],
)
def test_what_has_no_identity_is_refused_with_its_place(value, place):
    with pytest.raises(IdentityError, match=f"{place}.* has no identity"):
        canonical(value)


def test_what_holds_itself_has_no_identity_and_is_no_value():
    endless = [1]
    endless.append(endless)
    with pytest.raises(IdentityError, match="it holds itself"):
        canonical({"a": endless})

    class Plain(Config):
        anything: list[Any] = field([], doc="Any.")

    with pytest.raises(ConfigError, match="anything: holds itself"):
        Plain(anything=endless)


def test_names_that_differ_in_case_differ():
    assert task_key("pkg:Foo", "1", Clip()) != task_key("pkg:foo", "1", Clip())
    assert canonical({"Gain": 1}) != canonical({"gain": 1})


def test_what_collides_under_encodings_without_lengths_does_not():
    assert canonical(["a", "b\x03c"]) != canonical(["a\x03b", "c"])
    assert canonical({"a": "1", "b": "2"}) != canonical({"a": "1\x03b\x052"})


@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC", "NFKD"])
def test_unicode_counts_as_it_is_written(form):
    # What looks alike need not mean the same to whoever reads it (a file name, say): nothing is normalised.
    text = unicodedata.normalize(form, "\u00e9\ufb01")
    assert canonical(text) == canonical(str(text.encode(), "utf-8"))
    others = {unicodedata.normalize(f, "\u00e9\ufb01") for f in ("NFC", "NFD", "NFKC", "NFKD")} - {text}
    assert len(others) == 3
    assert all(canonical(text) != canonical(other) for other in others)


GOLDEN = """
from pathlib import Path
from supertask.configs.identities import canonical, digest
value = {"a": [1, -2.5, "ü", b"\\0", None, True], "b": {Path("x/y")}, "c": {"q", "r", "s", 1, 2.0}}
print(digest(canonical(value)).hex())
"""


def test_digests_are_those_of_every_process():
    # Sets and dicts are in another order in each of these.
    found = {
        subprocess.run(
            [sys.executable, "-c", GOLDEN], check=True, capture_output=True, text=True,
            cwd=Path(__file__).parents[2], env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONUTF8": "1"},
        ).stdout.strip()
        for seed in ("0", "1", "77")
    }  # fmt: skip
    assert found == {"2b4c065b726b2b96f640089f548be232"}


def test_encodings_and_keys_stay_what_they_are():
    # If this fails, every identity in every repository has changed: bump the version on purpose.
    value = {"a": [1, -2.5, "ü", b"\0", None, True], "b": {Path("x/y")}}
    assert digest(canonical(value)).hex() == "1e9f77b26aefd9600bd98380f8d37673"
    assert task_key("pkg.mod:Task", "1", Clip(sigma=2)).hex() == "c2ec56c1070b17287a2db806c29486ad"


@given(st.lists(st.binary(), max_size=4), st.lists(st.binary(), max_size=4))
def test_digests_are_16_bytes_and_tell_parts_apart(a, b):
    assert len(digest(*a)) == 16
    assert (digest(*a) == digest(*b)) == (a == b)


# -- tasks -----------------------------------------------------------------------------------------


class Clip(Config):
    sigma: float = field(3.0, doc="Sigma.")
    verbose: bool = field(False, doc="Talk.", meta=True)


class ClipTask(Task):
    ConfigClass = Clip
    _DefaultName = "clip"


class ClipTask2(ClipTask):
    version = "2"


class IsrConfig(SuperTaskConfig):
    raw = InputField("visit", "json", doc="Raw.")
    image = OutputField("visit", "json", doc="Image.")
    clip: Clip = field(Clip(sigma=5), doc="Clip.")
    find = ConfigurableField(ClipTask, doc="Find.")
    gain: float = field(1.0, doc="Gain.")
    workers: int = field(1, doc="Threads.", meta=True)


def key(**values):
    return task_key("pkg:Isr", "1", IsrConfig(**values))


def test_what_changes_results_changes_the_key():
    keys = [
        key(),
        key(gain=2),
        key(clip={"sigma": 3}),
        key(clip={"sigma": 4}),
        key(find={"sigma": 4}),
        key(find=ClipTask2),
        task_key("pkg:Isr", "2", IsrConfig()),
        task_key("pkg:Other", "1", IsrConfig()),
    ]
    assert len(set(keys)) == len(keys)
    assert all(len(k) == 16 for k in keys)


@pytest.mark.parametrize(
    "values",
    [
        {"workers": 8},
        {"raw": "other_raw"},
        {"image": "other_image"},
        {"clip": {"verbose": True}},
        {"find": {"verbose": True}},
        {"gain": 1},
        {"clip": {"sigma": 5}},
    ],
)
def test_what_changes_no_result_does_not(values):
    assert key(**values) == key()


def test_a_field_added_with_its_default_keeps_the_key():
    class Longer(IsrConfig):
        added: int = field(3, doc="Added.")
        nested: Clip = field(doc="Added too.")

    assert task_key("pkg:Isr", "1", Longer(gain=2)) == key(gain=2)
    assert task_key("pkg:Isr", "1", Longer(added=4)) != key()


def test_a_field_added_to_a_nested_configuration_keeps_the_key():
    class Longer(Clip):
        added: int = field(3, doc="Added.")

    class Outer(SuperTaskConfig):
        clip: Clip = field(Clip(sigma=5), doc="Clip.")

    class OuterLonger(SuperTaskConfig):
        clip: Longer = field(Longer(sigma=5), doc="Clip.")

    for changes in ({}, {"clip": {"sigma": 7}}):
        assert task_key("p:T", "1", Outer(**changes)) == task_key("p:T", "1", OuterLonger(**changes))


def test_a_required_field_always_counts():
    class Required(Config):
        gain: float = field(doc="Gain.")

    assert task_key("p:T", "1", Required(gain=1)) != task_key("p:T", "1", Required(gain=2))


@given(st.floats(allow_nan=True), st.booleans())
def test_a_key_survives_the_way_through_a_file(sigma, verbose):
    config = IsrConfig(clip={"sigma": sigma, "verbose": verbose})
    again = IsrConfig.from_dict({**json.loads(json.dumps(config.to_dict())), "find": ClipTask})
    assert task_key("p:T", "1", again) == task_key("p:T", "1", config)

from __future__ import annotations

import copy
import enum
import json
import math
import pickle
from pathlib import Path
from typing import Any, ClassVar, Literal

import attrs
import numpy as np
import pytest
from astropy.units import Quantity
from hypothesis import given
from hypothesis import strategies as st

from supertask.configs.config import Config, field
from supertask.configs.overrides import Override, parse_override, parse_path
from supertask.errors import ConfigError


class Method(enum.Enum):
    MEAN = "mean"
    MEDIAN = "median"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Clip(Config):
    sigma: float = field(3.0, doc="Threshold.", unit="sigma", min=0)
    iterations: int = field(5, doc="How often.", min=1, max=100)


class CoaddConfig(Config):
    """One field of every kind."""

    flag: bool = field(True, doc="A bool.")
    count: int = field(1, doc="An int.")
    scale: float = field(1.0, doc="A float.")
    name: str = field("x", doc="A str.")
    path: Path = field(Path("a/b"), doc="A path.")
    method: Method = field(Method.MEAN, doc="An enum.")
    level: Level = field(Level.LOW, doc="An enum of ints.")
    mode: Literal["fast", 1, True] = field("fast", doc="A literal.")
    limit: float | None = field(None, doc="Optional.")
    either: int | str = field(1, doc="A union.")
    bands: list[str] = field(["g", "r"], doc="A list.")
    shape: tuple[int, int] = field((10, 20), doc="A pair.")
    widths: tuple[float, ...] = field((), doc="A tuple.")
    flags: set[str] = field(set(), doc="A set.")
    gains: dict[int, float] = field({1: 1.5}, doc="A dict.")
    clips: list[Clip] = field([], doc="A list of configurations.")
    by_band: dict[str, Clip] = field({}, doc="A dict of configurations.")
    extra: Any = field(None, doc="Plain data.")
    angle: Quantity = field(Quantity(1, "arcsec"), doc="A quantity.", unit="arcsec")
    clip: Clip = field(doc="Nested.")


# -- construction ----------------------------------------------------------------------------------


NAMES = ", ".join(CoaddConfig.config_fields)
A_DICT = "a dict, each key an int and each value a float"
PLAIN = "plain data (None, bool, int, float, str, lists and dicts of them)"


def problems_of(make, *args, **kwargs):
    with pytest.raises(ConfigError) as caught:
        make(*args, **kwargs)
    return list(caught.value.problems)


def test_values_are_attributes_with_their_defaults():
    config = CoaddConfig(count=3)
    assert (config.count, config.scale, config.clip) == (3, 1.0, Clip())


def test_all_problems_of_a_construction_are_named_at_once_with_their_paths():
    assert problems_of(
        CoaddConfig,
        flag=1,
        count=True,
        scale="5",
        name=3,
        path=5,
        method="mediann",
        mode=True,
        limit="x",
        either=1.5,
        bands="g",
        shape=(1, 2, 3),
        gains={"a": 1.0, 2: "x"},
        clips=[{"sigma": -1}, 3],
        clip={"sigam": 1},
        extra=object,
        angle=3,
        kount=1,
    ) == [
        f"kount: CoaddConfig has no such field (did you mean 'count'?); it has {NAMES}",
        "flag: must be a bool, got 1 (int); write true or false",
        "count: must be an int, got True (bool)",
        "scale: must be a float, got '5' (str)",
        "name: must be a str, got 3 (int)",
        "path: must be a path, got 5 (int)",
        "method: must be one of mean, median, got 'mediann' (str) (did you mean 'median'?)",
        "limit: must be a float, got 'x' (str)",
        "either: must be an int or a str, got 1.5 (float)",
        "bands: must be a list, each a str, got 'g' (str)",
        "shape: must be a tuple of 2: an int, an int, got 3 values",
        "gains[2]: must be a float, got 'x' (str)",
        "gains.a: must be an int, got 'a' (str)",
        "clips[0].sigma: must be at least 0 sigma, got -1.0",
        "clips[1]: must be a Clip, got 3 (int)",
        f"extra: must be {PLAIN}, got <class 'object'> (type)",
        "angle: must be a quantity in arcsec or a unit that converts to it, got 3 (int)",
        "clip.sigam: Clip has no such field (did you mean 'sigma'?); it has sigma, iterations",
    ]


def test_what_is_required_is_said_with_its_type_unit_and_doc():
    class Required(Config):
        gain: float = field(doc="Electrons per count.", unit="electron / adu")

    assert problems_of(Required) == [
        "gain: a value is required: a float, in electron / adu (Electrons per count.)"
    ]
    assert Required(gain=2).gain == 2.0


def test_required_fields_of_a_nested_configuration_are_asked_for_by_path():
    class Inner(Config):
        x: int = field(doc="X.")

    class Outer(Config):
        inner: Inner = field(doc="Nested.")

    assert problems_of(Outer) == ["inner.x: a value is required: an int (X.)"]
    assert Outer(inner={"x": 1}).inner == Inner(x=1)


@pytest.mark.parametrize(
    ("name", "given", "kept"),
    [
        ("scale", 2, 2.0),
        ("scale", np.float32(0.5), 0.5),
        ("scale", np.int16(3), 3.0),
        ("count", np.int64(3), 3),
        ("flag", np.True_, True),
        ("path", "c", Path("c")),
        ("method", "median", Method.MEDIAN),
        ("method", "MEDIAN", Method.MEDIAN),
        ("level", 2, Level.HIGH),
        ("mode", 1, 1),
        ("either", "a", "a"),
        ("bands", ("i",), ["i"]),
        ("shape", [1, 2], (1, 2)),
        ("widths", np.array([1, 2]), (1.0, 2.0)),
        ("flags", ["a", "a"], frozenset({"a"})),
        ("gains", {"2": 1}, {2: 1.0}),
        ("extra", {"a": (1, 2.5)}, {"a": [1, 2.5]}),
        ("angle", Quantity(1, "arcmin"), Quantity(60, "arcsec")),
        ("angle", "1 arcmin", Quantity(60, "arcsec")),
        ("clip", {"sigma": 2}, Clip(sigma=2.0)),
        ("clips", [{"sigma": 2}, Clip()], [Clip(sigma=2), Clip()]),
        ("by_band", {"g": {"sigma": 2}}, {"g": Clip(sigma=2)}),
    ],
)
def test_values_are_kept_in_the_type_of_their_field(name, given, kept):
    value = getattr(CoaddConfig(**{name: given}), name)
    assert value == kept
    assert isinstance(value, type(kept))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("count", 5.0, "must be an int, got 5.0"),
        ("count", 2**70, None),
        ("scale", 10**400, "too large"),
        ("scale", 1j, "must be a float"),
        ("gains", {"1": 1.0, 1: 2.0}, "the key 1 is there twice"),
        ("angle", Quantity(1, "m"), "must be a quantity in arcsec"),
        ("angle", "3 parsnips", "write it as"),
        ("angle", Quantity([1, 2], "arcsec"), "must be a quantity"),
        ("bands", "gr", "must be a list"),
        ("flags", 3, "must be a set"),
        ("by_band", [1], "must be a dict"),
        ("level", True, "must be one of"),
    ],
)
def test_what_is_not_of_the_fields_type_is_refused(name, value, message):
    if message is None:
        assert getattr(CoaddConfig(**{name: value}), name) == value
    else:
        assert message in problems_of(CoaddConfig, **{name: value})[0]


def test_ranges_hold_for_each_number_and_refuse_nan():
    class Ranged(Config):
        values: list[float] = field([], doc="Values.", min=0, max=1, unit="adu")
        by_name: dict[str, float] = field({}, doc="By name.", max=1)
        angle: Quantity = field(Quantity(1, "deg"), doc="Angle.", unit="deg", max=90)

    assert problems_of(Ranged, values=[0.5, 2], by_name={"a": math.nan}, angle=Quantity(100, "deg")) == [
        "values: must be at most 1 adu, got 2.0",
        "by_name: must be at most 1, got nan",
        "angle: must be at most 90 deg, got 100.0",
    ]


def test_choices_may_be_of_any_type():
    class Choice(Config):
        order: int = field(1, doc="Order.", choices=(1, 3))
        kernel: str | None = field(None, doc="Kernel.", choices=("a", "b"))

    assert problems_of(Choice, order=2, kernel="c") == [
        "order: must be one of 1, 3, got 2",
        "kernel: must be one of 'a', 'b', got 'c'",
    ]
    assert Choice(kernel=None).kernel is None


# -- cross-checks ----------------------------------------------------------------------------------


class Window(Config):
    first: int = field(0, doc="First.")
    last: int = field(10, doc="Last.")

    def validate(self):
        if self.last < self.first:
            yield "last is before first"
        if self.first < 0:
            yield "first is negative"


def test_fields_are_checked_against_each_other_with_every_message():
    assert problems_of(Window, first=-1, last=-2) == ["last is before first", "first is negative"]


@pytest.mark.parametrize(
    "answer", ["one message", ["one message"], ValueError("one message"), ConfigError("one message")]
)
def test_a_check_may_answer_in_several_ways(answer):
    class Checked(Config):
        def validate(self):
            if isinstance(answer, Exception):
                raise answer
            return answer

    assert problems_of(Checked) == ["one message"]


def test_checks_inside_have_the_path_of_where_they_stand():
    class Outer(Config):
        windows: list[Window] = field([], doc="Windows.")
        named: dict[str, Window] = field({}, doc="Named.")
        window: Window = field(doc="Window.")

        def validate(self):
            return "" or None

    bad = {"first": 5, "last": 1}
    assert problems_of(Outer, windows=[{}, bad], named={"a": bad}, window=bad) == [
        "windows[1]: last is before first",
        "named.a: last is before first",
        "window: last is before first",
    ]


def test_checks_come_after_types_and_see_only_good_values():
    assert problems_of(Window, first="x", last=-1) == ["first: must be an int, got 'x' (str)"]


def test_several_changes_are_checked_together():
    config = Window(first=0, last=5)
    moved = config.apply_overrides([Override("first", "10"), Override("last", "20")])
    assert (moved.first, moved.last) == (10, 20)
    assert config.replace(first=10, last=20) == moved


# -- immutability, equality ------------------------------------------------------------------------


def test_a_configuration_cannot_be_changed():
    config = CoaddConfig()
    with pytest.raises(ConfigError, match=r"take config\.replace\(count=…\)"):
        config.count = 2
    with pytest.raises(ConfigError, match="cannot be changed"):
        config.other = 2
    with pytest.raises(ConfigError, match="cannot be deleted"):
        del config.count
    for change in (
        lambda: config.bands.append("z"),
        lambda: config.gains.update({2: 1.0}),
        lambda: config.bands.__setitem__(0, "z"),
        lambda: config.gains.pop(1),
    ):
        with pytest.raises(TypeError, match="belongs to a configuration"):
            change()
    assert config == CoaddConfig()


def test_the_default_of_a_class_is_not_shared_by_reference():
    bands = ["g"]

    class Mine(Config):
        bands_: ClassVar[int] = 3
        names: list[str] = field(bands, doc="Names.")

    bands.append("r")
    assert Mine().names == ["g"]


def test_an_unknown_field_is_named_when_read():
    with pytest.raises(AttributeError, match=r"Clip has no field 'sigam' \(did you mean 'sigma'\?\)"):
        Clip().sigam  # noqa: B018
    assert not hasattr(Clip(), "sigam")


def test_configurations_are_equal_by_value_whatever_their_history():
    assert CoaddConfig(count=2) == CoaddConfig().replace(count=2)
    assert hash(Clip(sigma=2)) == hash(Clip().replace(sigma=2.0))
    assert CoaddConfig() != CoaddConfig(scale=math.nan)
    assert CoaddConfig(scale=math.nan, widths=[math.nan]) == CoaddConfig(
        scale=float("nan"), widths=[float("nan")]
    )
    assert Clip() != Window()


def test_whole_and_broken_numbers_are_different_plain_data():
    assert CoaddConfig(extra=1) != CoaddConfig(extra=1.0)
    assert CoaddConfig(extra=[True]) != CoaddConfig(extra=[1])


def test_attrs_knows_the_fields():
    assert [a.name for a in attrs.fields(Clip)] == ["sigma", "iterations"]
    assert attrs.fields(Clip).sigma.default == 3.0


# -- round trips -----------------------------------------------------------------------------------

floats = st.floats()
names = st.text(max_size=5)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | floats | names,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=2),
    max_leaves=5,
)
clips = st.builds(Clip, sigma=st.floats(0, 1e300), iterations=st.integers(1, 100))
configs = st.builds(
    CoaddConfig,
    flag=st.booleans(),
    count=st.integers(),
    scale=floats,
    name=names,
    path=st.sampled_from([Path(), Path("/a/b c"), Path("~"), Path("null")]),
    method=st.sampled_from(Method),
    level=st.sampled_from(Level),
    mode=st.sampled_from(["fast", 1, True]),
    limit=st.none() | floats,
    either=st.integers() | names,
    bands=st.lists(names, max_size=3),
    shape=st.tuples(st.integers(), st.integers()),
    widths=st.lists(floats, max_size=3),
    flags=st.sets(names, max_size=3),
    gains=st.dictionaries(st.integers(), floats, max_size=3),
    clips=st.lists(clips, max_size=2),
    by_band=st.dictionaries(names, clips, max_size=2),
    extra=plain,
    angle=st.floats(-1e300, 1e300).map(lambda v: Quantity(v, "arcsec")),
    clip=clips,
)


@given(configs)
def test_a_configuration_survives_json(config):
    assert CoaddConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@given(configs)
def test_a_configuration_survives_yaml_copies_and_pickles(tmp_path_factory, config):
    path = tmp_path_factory.getbasetemp() / "config.yaml"
    config.save(path)
    assert CoaddConfig.load(path) == config
    assert copy.deepcopy(config) == config
    assert pickle.loads(pickle.dumps(config)) == config


@given(configs, configs)
def test_changes_laid_over_one_give_the_other(a, b):
    assert a.replace(**b.changes_from(a)) == b
    assert CoaddConfig.from_dict(b.changes_from()) == b
    assert (a.diff(b) == {}) == (a == b)


# -- changes ---------------------------------------------------------------------------------------


def test_a_mapping_for_a_nested_configuration_is_laid_over_it():
    class Outer(Config):
        clip: Clip = field(Clip(sigma=7), doc="Nested.")

    config = Outer(clip={"iterations": 2})
    assert config.clip == Clip(sigma=7, iterations=2)
    assert config.replace(clip={"sigma": 1}).clip == Clip(sigma=1, iterations=2)
    assert config.replace(**{"clip.sigma": 1, "clip.iterations": 9}).clip == Clip(sigma=1, iterations=9)
    assert config.replace(clip=Clip()).clip == Clip()


@pytest.mark.parametrize(
    ("path", "text", "value"),
    [
        ("flag", "false", False),
        ("flag", "True", True),
        ("count", "5", 5),
        ("count", "0x10", 16),
        ("scale", "5", 5.0),
        ("scale", "1e-3", 1e-3),
        ("scale", "-inf", -math.inf),
        ("name", "5", "5"),
        ("name", "a: b", "a: b"),
        ("name", "'quoted'", "quoted"),
        ("name", "", ""),
        ("name", "null", "null"),
        ("path", "/a/b", Path("/a/b")),
        ("method", "median", Method.MEDIAN),
        ("method", "MEDIAN", Method.MEDIAN),
        ("level", "2", Level.HIGH),
        ("mode", "1", 1),
        ("mode", "true", True),
        ("mode", "fast", "fast"),
        ("limit", "null", None),
        ("limit", "None", None),
        ("limit", "3", 3.0),
        ("either", "3", 3),
        ("either", "three", "three"),
        ("either", "'3'", "3"),
        ("bands", "[u, 1, true]", ["u", "1", "true"]),
        ("bands[1]", "z", ["g", "z"]),
        ("bands[-1]", "z", ["g", "z"]),
        ("shape", "[1, 2]", (1, 2)),
        ("shape[0]", "7", (7, 20)),
        ("widths", "[1, 2.5]", (1.0, 2.5)),
        ("flags", "[a, b]", {"a", "b"}),
        ("gains", "{2: 3}", {2: 3.0}),
        ("gains[1]", "9", {1: 9.0}),
        ("gains[5]", "9", {1: 1.5, 5: 9.0}),
        ("extra", "{a: [1, x, '1']}", {"a": [1, "x", "1"]}),
        ("angle", "2", Quantity(2, "arcsec")),
        ("angle", "1 arcmin", Quantity(60, "arcsec")),
        ("clip.sigma", "2", Clip(sigma=2)),
        ("clip", "{sigma: 2}", Clip(sigma=2)),
        ("by_band.g.sigma", "2", {"g": Clip(sigma=2)}),
        ("clips", "[{sigma: 2}]", [Clip(sigma=2)]),
    ],
)
def test_text_is_read_as_the_fields_type_says(path, text, value):
    config = CoaddConfig().apply_override(path, text)
    found = getattr(config, parse_path(path)[0])
    assert found == value
    assert type(found) is type(CoaddConfig.config_fields[parse_path(path)[0]].default) or path.startswith(
        ("clip", "mode", "limit", "either", "extra")
    )


@pytest.mark.parametrize(
    ("path", "text", "problem"),
    [
        ("count", "5.0", "count: must be an int, got '5.0' (str)"),
        ("count", "'5'", "count: must be an int, got '5' (str)"),
        ("flag", "yes", "flag: must be a bool, got 'yes' (str); write true or false"),
        ("clip.sigma", "-1", "clip.sigma: must be at least 0 sigma, got -1.0"),
        (
            "clip.sigmaa",
            "1",
            "clip.sigmaa: Clip has no such field (did you mean 'sigma'?); it has sigma, iterations",
        ),
        ("clip", "3", "clip: must be a Clip; write it as {field: value}, or set one of its fields"),
        ("count.x", "1", "count: it is an int and has nothing inside that 'x' could name"),
        ("bands[7]", "1", "bands: it has no element [7]: it has 2, counted from 0"),
        ("bands.x", "1", "bands: it has no element [x]: it has 2, counted from 0"),
        ("bands", "1,2", "bands: must be a list, each a str, got '1,2'; write it as [first, second]"),
        (
            "gains",
            "[1]",
            f"gains: must be {A_DICT}, got ['1']; write it as {{key: value}}",
        ),
        ("gains[x]", "1", "gains.x: must be an int, got 'x' (str)"),
        ("bands", "[a", None),
        ("mode", "slow", "mode: must be one of 'fast', 1, True, got 'slow' (str)"),
        ("by_band.g", "3", "by_band.g: must be a Clip; write it as {field: value}, or set one of its fields"),
        ("limit.x", "3", "limit: it is a float and has nothing inside that 'x' could name"),
    ],
)
def test_text_that_does_not_fit_is_refused_with_its_path(path, text, problem):
    found = problems_of(CoaddConfig().apply_override, path, text)
    assert found == [problem] if problem else "cannot be read" in found[0]


@pytest.mark.parametrize("path", ["", "a..b", ".a", "a b", "[0]", "a[", "1a", "a.b-c"])
def test_what_is_no_path_is_refused(path):
    with pytest.raises(ConfigError, match="path of a field"):
        parse_path(path)


def test_paths_are_names_indices_and_keys():
    assert parse_path("a.b[0]['x y'].c") == ("a", "b", "0", "x y", "c")


def test_an_override_needs_an_equals_sign():
    assert parse_override("a.b = c=d") == Override("a.b", "c=d", "a.b = c=d")
    with pytest.raises(ConfigError, match="has no '='"):
        parse_override("a.b")


def test_values_from_python_are_not_text():
    config = CoaddConfig().apply_override("gains", {3: 4}).apply_override("limit", None)
    assert config.gains == {3: 4.0}
    assert problems_of(CoaddConfig().apply_override, "count", 2.5) == [
        "count: must be an int, got 2.5 (float)"
    ]


def test_all_bad_overrides_are_named_together():
    assert problems_of(
        CoaddConfig().apply_overrides, [Override("x", "1"), Override("count", "q"), Override("a b", "1")]
    )[1:] == [
        "count: must be an int, got 'q' (str)",
        "[a b]: 'a b' is no path of a field: write it as field.sub or field[0]",
    ]


# -- history and differences -----------------------------------------------------------------------


def test_history_says_what_set_each_value_in_order(tmp_path):
    path = tmp_path / "coadd.yaml"
    path.write_text("count: 2\nclip:\n  sigma: 4\nclip.iterations: 7\n")
    config = CoaddConfig.load(path)
    config = config.apply_override("clip.sigma", "5", "--config coadd:clip.sigma=5")
    config = config.replace(count=9)
    assert [tuple(s) for s in config.history["clip.sigma"]] == [
        (3.0, "default"),
        (4.0, f"{path}:3:3"),
        (5.0, "--config coadd:clip.sigma=5"),
    ]
    assert [tuple(s) for s in config.history["clip.iterations"]] == [(5, "default"), (7, f"{path}:4:1")]
    first, second, third = config.history["count"]
    assert (first.value, second.value, third.value) == (1, 2, 9)
    assert (first.source, second.source) == ("default", f"{path}:1:1")
    assert third.source.startswith(f"{__file__}:")
    assert [s.value for s in config.history["flag"]] == [True]


def test_history_of_a_nested_configuration_made_apart_is_its_own():
    clip = Clip(sigma=2)
    config = CoaddConfig(clip=clip)
    assert config.history["clip.sigma"] == clip.history["sigma"]


def test_history_survives_pickling():
    config = CoaddConfig(count=2)
    assert pickle.loads(pickle.dumps(config)).history == config.history


def test_differences_are_by_path():
    a = CoaddConfig(count=2, clip={"sigma": 2})
    assert a.diff(CoaddConfig()) == {"count": (2, 1), "clip.sigma": (2.0, 3.0)}
    with pytest.raises(ConfigError, match="a CoaddConfig and a Clip cannot be compared"):
        a.diff(Clip())


# -- files -----------------------------------------------------------------------------------------


def test_every_mistake_in_a_file_has_its_line_and_column(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text(
        "count: x\nclip:\n  sigma: -1\n  sigam: 2\nbands:\n  - 3\ngains: {1: a}\nbad path: 1\nclip.q: 2\n"
    )
    with pytest.raises(ConfigError) as caught:
        CoaddConfig.load(path)
    assert sorted(p.replace(f"{path}:", "") for p in caught.value.problems) == [
        "1:1: count: must be an int, got 'x' (str)",
        "3:3: clip.sigma: must be at least 0 sigma, got -1.0",
        "4:3: clip.sigam: Clip has no such field (did you mean 'sigma'?); it has sigma, iterations",
        "6:5: bands[0]: must be a str, got 3 (int)",
        "7:9: gains[1]: must be a float, got 'a' (str)",
        "8:1: [bad path]: 'bad path' is no path of a field: write it as field.sub or field[0]",
        "9:1: clip.q: Clip has no such field; it has sigma, iterations",
    ]


def test_an_empty_file_is_all_defaults(tmp_path):
    path = tmp_path / "empty.yaml"
    path.write_text("# nothing\n")
    assert Clip.load(path) == Clip()


@pytest.mark.parametrize(("text", "message"), [("a: [", "not plain YAML"), ("- 1", "must be a Clip")])
def test_files_that_hold_no_configuration_are_refused(tmp_path, text, message):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        Clip.load(path)
    with pytest.raises(ConfigError, match="cannot read"):
        Clip.load(tmp_path / "none.yaml")


# -- classes ---------------------------------------------------------------------------------------


def test_subclasses_inherit_add_and_change_fields():
    class Harder(Clip):
        sigma = 5
        iterations: int = field(9, doc="More often.", min=1)
        extra: bool = field(False, doc="New.")

    assert Harder() == Harder(sigma=5.0, iterations=9, extra=False)
    assert list(Harder.config_fields) == ["sigma", "iterations", "extra"]
    assert Harder.config_fields["sigma"].doc == "Threshold."
    assert problems_of(Harder, sigma=-1) == ["sigma: must be at least 0 sigma, got -1.0"]
    assert Clip().sigma == 3.0
    assert problems_of(CoaddConfig, clip=Harder())[0].startswith("clip: must be a Clip, got Harder(")


def test_every_mistake_in_a_class_is_named_at_once():
    def declare():
        class Bad(Config):
            a: int = 3
            b: complex = field(1j, doc="B.")
            c: int = field("x", doc="C.")
            d = field(1, doc="D.")
            e: Undefined = field(1, doc="E.")  # noqa: F821
            f: int = field(1, doc="")
            history: int = field(1, doc="H.")
            h: int = field(0, doc="H.", min=1)
            i: str = field("x", doc="I.", choices=("a", 3))
            j: Quantity = field(Quantity(1, "m"), doc="J.")
            k: int
            _private: int = field(1, doc="P.")

    with pytest.raises(ConfigError, match="configuration class Bad: 12 problems"):
        declare()
    found = dict(p.split(": ", 1) for p in problems_of(declare))
    assert found["field 'a'"] == "say what it is: write `name: type = field(default, doc='…')`"
    assert "is no type for a field; known are bool" in found["field 'b'"]
    assert found["field 'c'"] == "default: must be an int, got 'x' (str)"
    assert found["field 'd'"] == "it has no type: write `d: float = field(…)`"
    assert "cannot be resolved" in found["field 'e'"]
    assert "it has no doc" in found["field 'f'"]
    assert "taken by Config itself" in found["field 'history'"]
    assert found["field 'h'"] == "default: must be at least 1, got 0"
    assert found["field 'i'"] == "choice: must be a str, got 3 (int)"
    assert "needs unit='…'" in found["field 'j'"]
    assert "say what it is" in found["field 'k'"]
    assert "begins with '_'" in found["field '_private'"]


def test_what_is_no_field_stays_in_the_class():
    class Extra(Config):
        CONSTANT = 3
        table: ClassVar[dict[str, int]] = {"a": 1}
        x: int = field(1, doc="X.")

        @property
        def double(self):
            return 2 * self.x

    assert (Extra.CONSTANT, Extra.table, Extra(x=2).double) == (3, {"a": 1}, 4)
    assert list(Extra.config_fields) == ["x"]


def test_a_configuration_shows_its_values():
    assert repr(Clip(sigma=1)) == "Clip(sigma=1.0, iterations=5)"

from __future__ import annotations

import pickle

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st

from supertask.errors import IngestError
from supertask.ingest import HeaderTranslator
from supertask.ingest.fitsfile import FitsFile, Hdu
from supertask.times import tai_ns
from supertask.unitmodels import load_unit_model

MODEL = load_unit_model("imaging")


def file_of(*headers, path="/data/night1/n1_0042.fits"):
    hdus = tuple(
        Hdu(i, h if isinstance(h, fits.Header) else fits.Header(h), (4, 4)) for i, h in enumerate(headers)
    )
    return FitsFile(path, 1, "blake2b:" + "0" * 32, hdus)


def find(rule, target="exposure.object", path="/data/night1/n1_0042.fits", extra="", **cards):
    """Return what one rule finds for one field."""
    translator = HeaderTranslator.from_yaml(
        f"name: t\nvalues:\n  instrument: C\n  exposure: 1\n  {target}: {rule}\n{extra}"
        "datasets: [{type: raw, units: [exposure], storage: fits_image}]\n"
    )
    translator.check(MODEL)
    cards = {k.replace("_", "-"): v for k, v in cards.items()}
    (frame,) = translator.frames(file_of(cards, path=path), MODEL)
    return frame.values[target]


@pytest.mark.parametrize(
    ("rule", "cards", "expected"),
    [
        ("M31", {}, "M31"),
        ("{value: M31}", {}, "M31"),
        ("{card: OBJECT}", {"OBJECT": " M31 "}, "M31"),
        ("{card: OBJECT}", {"OBJECT": 42}, "42"),
        ("{card: [OBJECT, TARGET]}", {"OBJECT": "", "TARGET": "M33"}, "M33"),
        ("{card: OBJECT, default: null}", {}, None),
        ("{card: OBJECT, default: sky}", {}, "sky"),
        ("[{card: OBJECT}, {card: TARGET, match: 'M(.*)'}]", {"TARGET": "M33"}, "33"),
        ("[{card: OBJECT}, {file: '_(.*)[.]'}]", {}, "0042"),
        ("{path: 'night[0-9]'}", {}, "night1"),
        ("{card: OBJECT, map: {'*bias*': bias, '*': other}}", {"OBJECT": "Bias frame"}, "bias"),
        ("{card: OBJECT, map: {bias: b}, default: null}", {"OBJECT": "x"}, None),
        ("{from: exposure}", {}, "1"),
        (
            "{join: [DATE-OBS, UT], with: ' '}",
            {"DATE_OBS": "2013-07-13", "UT": "00:57:33"},
            "2013-07-13 00:57:33",
        ),
        ("{hdu: number}", {}, "0"),
        ("{card: OBJECT, when: {exposure: 2}}", {}, None),
    ],
)
def test_rules_find_text(rule, cards, expected):
    assert find(rule, **cards) == expected


@pytest.mark.parametrize(
    ("rule", "value", "expected"),
    [
        ("{card: X}", 3, 3.0),
        ("{card: X}", "1.5D1", 15.0),
        ("{card: X, to: degrees}", "-00:30:00", -0.5),
        ("{card: X, to: degrees}", "+46 46 09.0", 46.769166666),
        ("{card: X, to: degrees}", 46.5, 46.5),
        ("{card: X, to: hours}", "22:04:08", 331.0333333),
        ("{card: X, to: hours}", "22:04.5", None),
        ("{card: X, times: 0.001, plus: 1}", 500, 1.5),
    ],
)
def test_rules_find_numbers(rule, value, expected):
    if expected is None:
        with pytest.raises(IngestError, match="which is no number"):
            find(rule, "exposure.ra", X=value)
    else:
        assert find(rule, "exposure.ra", X=value) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("rule", "cards", "expected"),
    [
        ("{card: DATE-OBS}", {"DATE_OBS": "2026-01-05T03:00:00"}, "2026-01-05T03:00:00"),
        ("{card: DATE-OBS}", {"DATE_OBS": "2017-12-19T18:33:43.317-0700"}, "2017-12-20T01:33:43.317"),
        ("{card: DATE-OBS}", {"DATE_OBS": "2017-12-20T01:33:43.317-0000"}, "2017-12-20T01:33:43.317"),
        ("{card: DATE-OBS}", {"DATE_OBS": "2017-12-20T03:33:43.317+02:00"}, "2017-12-20T01:33:43.317"),
        ("{card: DATE-OBS, scale: tai}", {"DATE_OBS": "2026-01-05T03:00:00"}, "2026-01-05T03:00:00 TAI"),
        ("{join: [DATE-OBS, UT]}", {"DATE_OBS": "2013-07-13", "UT": "00:57:33"}, "2013-07-13T00:57:33"),
        ("{card: MJD, format: mjd}", {"MJD": 61045.25}, "2026-01-05T06:00:00"),
        ("{card: T, format: unix}", {"T": 1767582000.5}, "2026-01-05T03:00:00.5"),
        ("{card: DATE-OBS, plus: 15}", {"DATE_OBS": "2026-01-05T03:00:00"}, "2026-01-05T03:00:15"),
    ],
)
def test_rules_find_times(rule, cards, expected):
    assert find(rule, "exposure.obs_time", **cards) == tai_ns(expected)


def test_the_night_begins_where_the_rule_says():
    rule = "{card: DATE-OBS, to: date, plus: -68400}"
    assert find(rule, "exposure.night", DATE_OBS="2026-01-05T18:59:59") == "2026-01-04"
    assert find(rule, "exposure.night", DATE_OBS="2026-01-05T19:00:00") == "2026-01-05"


@given(st.integers(-4, 4), st.integers(0, 10**6))
def test_an_offset_from_utc_says_the_same_moment(hours, seconds):
    moment = np.datetime64("2016-12-28T00:00:00") + np.timedelta64(seconds, "s")
    local = moment + np.timedelta64(hours, "h")
    assert find("{card: X}", "exposure.obs_time", X=f"{local}{hours:+03d}00") == tai_ns(str(moment))


@pytest.mark.parametrize(
    ("rule", "target", "cards", "says"),
    [
        ("{card: EXPTIME}", "exposure.exposure_time", {}, "card EXPTIME is missing or blank"),
        ("{card: EXPTIME}", "exposure.exposure_time", {"EXPTIME": "long"}, "'long', which is no number"),
        ("{card: X}", "exposure.obs_time", {"X": "yesterday"}, "card X: 'yesterday utc' is not a time"),
        ("{card: X}", "exposure.obs_time", {"X": 5.5}, "say what kind of time it is"),
        ("{card: X, map: {a: b}}", "exposure.object", {"X": "c"}, "which the map has not"),
        ("{card: X, match: '^M'}", "exposure.object", {"X": "c"}, "does not match"),
        ("{file: 'zzz'}", "exposure.object", {}, "the file's name does not match 'zzz'"),
        ("[{card: A}, {card: B}]", "exposure.object", {}, "card A is missing or blank; card B is missing"),
    ],
)
def test_what_is_missing_or_wrong_is_said(rule, target, cards, says):
    with pytest.raises(IngestError, match=says) as caught:
        find(rule, target, **cards)
    assert target in str(caught.value)


def test_a_biases_visit_and_filter_are_null_and_a_visits_fields_are_its_exposures(translator):
    header = {"EXPID": 7, "FILTER": "r1", "OBJECT": "bias", "DATE-OBS": "2026-01-05", "EXPTIME": 0.0}
    (bias,) = translator.frames(file_of(header), MODEL)
    assert (bias.values["visit"], bias.values["physical_filter"], bias.values["band"]) == (None, None, None)
    (science,) = translator.frames(file_of({**header, "OBJECT": "M31"}), MODEL)
    assert science.values["visit"] == 7
    assert science.values["visit.object"] == "M31"
    assert science.values["band"] == "r"


def test_frames_can_be_passed_over(translator):
    header = {"EXPID": 7, "FILTER": "r1", "OBJECT": "focus", "DATE-OBS": "2026-01-05", "EXPTIME": 0.0}
    assert translator.frames(file_of(header), MODEL) == []


def test_every_extension_can_be_a_detector_and_inherits_the_primary_header():
    translator = HeaderTranslator.from_yaml(
        "name: mosaic\nhdu: all\nvalues:\n  instrument: M\n  exposure: {card: EXPID}\n"
        "  detector: {card: CCDNUM}\n  detector.full_name: {hdu: name}\n"
        "datasets: [{type: raw, units: [exposure, detector], storage: fits_image}]\n"
    )
    headers = [{"EXPID": 5}, {"CCDNUM": 1, "EXTNAME": "N1"}, {"CCDNUM": 2, "EXTNAME": "N2"}]
    file = file_of(*headers)
    file = FitsFile(file.path, 1, "", (Hdu(0, file.hdus[0].header, ()), *file.hdus[1:]))
    frames = translator.frames(file, MODEL)
    assert [(f.values["exposure"], f.values["detector"], f.hdu, f.fragment) for f in frames] == [
        (5, 1, 1, True),
        (5, 2, 2, True),
    ]
    assert frames[1].values["detector.full_name"] == "N2"


def test_every_mistake_of_a_translator_is_named_with_its_line():
    with pytest.raises(IngestError) as caught:
        HeaderTranslator.from_yaml(
            "name: x\nvals: 3\nvalues:\n  exposure: {crd: X}\n  a: {from: b, when: {c: 1}, to: flot}\n"
            "  b: {file: '('}\ndatasets: [{type: raw, units: 3, when: {zz: 2}}]\n"
        )
    said = str(caught.value)
    for line in (
        "line 2: unknown key 'vals' (did you mean 'values'?)",
        "line 4: unknown key 'crd' (did you mean 'card'?)",
        "line 5: to: 'flot' is none of",
        "line 5: 'c' has no rule",
        "line 6: '(' is no regular expression",
        "line 7: 'zz' has no rule",
        "line 7: 'units' must be a word",
    ):
        assert line in said


def test_values_that_rest_on_each_other_are_refused():
    with pytest.raises(IngestError, match="rest on each other: "):
        HeaderTranslator.from_yaml(
            "name: x\nvalues:\n  visit: {from: exposure}\n  exposure: {from: visit}\n"
            "datasets: [{type: raw, units: exposure}]\n"
        )


def test_every_disagreement_with_the_unit_model_is_named():
    translator = HeaderTranslator.from_yaml(
        "name: x\nvalues:\n  exposre: 1\n  exposure.object_name: 2\n  detector: 1\n"
        "datasets: [{type: raw, units: [exposure, detector]}, {type: b, units: zorg}]\n"
    )
    with pytest.raises(IngestError) as caught:
        translator.check(MODEL)
    said = str(caught.value)
    for part in (
        "there is no unit 'exposre' (did you mean 'exposure'?)",
        "unit 'exposure' has no field 'object_name'",
        "'detector' needs a rule for instrument",
        "dataset type 'raw' needs a rule for instrument, exposure",
        "no unit 'zorg'",
    ):
        assert part in said


def test_a_translator_can_be_sent_to_another_process(translator):
    assert pickle.loads(pickle.dumps(translator)) == translator


def test_the_type_of_real_kast_frames_stands_in_object_alone(shared_data):
    from supertask.ingest.fitsfile import read_fits

    translator = HeaderTranslator.from_yaml(
        "name: kast\nvalues:\n  instrument: Kast\n  detector: 0\n  exposure: {file: 'b([0-9]+)'}\n"
        "  exposure.obs_type: {card: OBJECT, map: {'*bias*': bias, '*flat*': flat, '*': science}}\n"
        "  exposure.obs_time: {card: DATE}\n  exposure.ra: {card: RA, to: hours, default: null}\n"
        "datasets: [{type: raw, units: [exposure, detector], storage: fits_image}]\n"
    )
    kinds = {}
    for path in shared_data.glob("isr/shane_kast_blue/*.fits.gz"):
        (frame,) = translator.frames(read_fits(str(path)), MODEL)
        kinds.setdefault(frame.values["exposure.obs_type"], set()).add(frame.values["exposure"])
    assert {14, 15, 16, 17, 18} <= kinds["bias"] | kinds.get("flat", set())
    assert set(kinds) >= {"bias", "flat"}

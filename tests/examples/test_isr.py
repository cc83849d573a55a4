"""Instrument signature removal on frames whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.nddata import CCDData, VarianceUncertainty
from hypothesis import given, settings
from hypothesis import strategies as st

from examples.isr.calibrations import combine_frames, master_bias, master_dark, master_flat
from examples.isr.camera import Camera, section
from examples.isr.correct import (
    apply_gain,
    count_variance,
    divide_by_flat,
    mask_cosmic_rays,
    subtract_master_bias,
    subtract_master_dark,
    with_variance,
)
from examples.isr.readout import amplifier_map, assemble
from examples.isr.tasks import IsrConfig, IsrTask
from examples.isr.transfer import photon_transfer, read_noise
from supertask import ConfigError

SIZE = 64
CAMERA = Camera.from_dict(
    {
        "detectors": [
            {
                "number": 3,
                "amplifiers": [
                    {
                        "data": "[1:32,1:64]",
                        "overscan": "[65:80,1:64]",
                        "gain": 2.0,
                        "read_noise": 4.0,
                        "saturation": 60000,
                    },
                    {
                        "data": "[33:64,1:64]",
                        "overscan": "[81:96,1:64]",
                        "gain": 1.5,
                        "read_noise": 3.0,
                        "saturation": 60000,
                    },
                ],
            }
        ]
    }
)
DETECTOR = CAMERA.detector(3)


def raw(electrons, rng, *, levels=(1000.0, 1100.0), seconds=10.0, drift=None):
    """Return a raw frame as the detector would make it, without rounding."""
    frame = np.zeros((SIZE, SIZE + 32))
    drift = np.zeros(SIZE) if drift is None else drift
    for a, (gain, noise) in enumerate(((2.0, 4.0), (1.5, 3.0))):
        columns, strip = slice(32 * a, 32 * a + 32), slice(64 + 16 * a, 80 + 16 * a)
        counted = rng.poisson(np.broadcast_to(electrons, (SIZE, SIZE))[:, columns])
        frame[:, columns] = (
            levels[a] + drift[:, None] + counted / gain + rng.normal(0, noise / gain, (SIZE, 32))
        )
        frame[:, strip] = levels[a] + drift[:, None] + rng.normal(0, noise / gain, (SIZE, 16))
    return CCDData(frame, unit="adu", meta={"EXPTIME": seconds})


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def test_rows_lose_their_drift_and_amplifiers_their_step(rng):
    image = assemble(raw(0.0, rng, drift=np.linspace(0, 40, SIZE)), DETECTOR)
    assert image.shape == (SIZE, SIZE)
    assert abs(image.data[:, :32].mean() - image.data[:, 32:].mean()) < 0.3
    assert np.ptp(np.median(image.data, axis=1)) < 6


def test_saturated_pixels_are_masked_by_their_raw_value(rng):
    frame = raw(100.0, rng)
    frame.data[10, 20] = 60000
    assert list(zip(*np.nonzero(assemble(frame, DETECTOR).mask), strict=True)) == [(10, 20)]


def test_wcs_moves_with_the_data_section(rng, make_wcs):
    frame = raw(0.0, rng)
    frame.wcs = make_wcs(frame.shape)
    detector = Camera.from_dict(
        {"detectors": [{"number": 0, "amplifiers": [{"data": "[11:64,5:64]"}]}]}
    ).detector(0)
    image = assemble(frame, detector)
    here, there = image.wcs.pixel_to_world(0, 0), frame.wcs.pixel_to_world(10, 4)
    assert here.separation(there).arcsec < 1e-6


def test_sections_and_numbers_may_be_in_the_header():
    header = {"TRIMSEC": "[  17: 528,   1: 520]"}
    assert section("TRIMSEC", header) == (slice(0, 520), slice(16, 528))
    with pytest.raises(ValueError, match=r"header card 'BIASSEC' with a FITS section"):
        section("BIASSEC", header)


def test_a_detector_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="no detector 7; it has 3"):
        CAMERA.detector(7)


def test_a_wrong_description_names_every_mistake():
    with pytest.raises(ConfigError, match="gian") as caught:
        Camera.from_dict({"detectors": [{"number": -1, "amplifiers": [{"data": "[1:2,1:2]", "gian": 2}]}]})
    assert "number" in str(caught.value)


def test_clipping_leaves_noise_alone_and_takes_strays_out(rng):
    frames = [CCDData(np.rint(rng.normal(10, 2.7, (50, 50))), unit="adu") for _ in range(5)]
    plain = np.mean([f.data for f in frames], axis=0)
    clean = combine_frames(frames, deviation=np.full((50, 50), 2.7))
    assert np.array_equal(clean.data, plain)
    frames[2].data[7, 7] += 500
    struck = combine_frames(frames, deviation=np.full((50, 50), 2.7))
    assert abs(struck.data[7, 7] - 10) < 6
    assert np.array_equal(np.delete(struck.data.ravel(), 7 * 50 + 7), np.delete(plain.ravel(), 7 * 50 + 7))


def test_variance_of_a_master_is_that_of_the_mean(rng):
    frames = [CCDData(rng.normal(0, 3.0, (80, 80)), unit="adu") for _ in range(8)]
    made = combine_frames(frames)
    assert np.sqrt(made.uncertainty.array.mean()) == pytest.approx(3 / np.sqrt(8), rel=0.1)


def test_masters_undo_what_the_detector_did(rng):
    sensitivity = 1 + 0.2 * np.sin(np.arange(SIZE) / 7.0)[None, :]
    bias = master_bias([raw(0.0, rng, seconds=0.0) for _ in range(9)], DETECTOR)
    dark = master_dark([raw(50.0, rng, seconds=s) for s in (100.0, 100.0, 100.0)], CAMERA, DETECTOR, bias)
    assert dark.header["EXPTIME"] == 100.0
    flats = [raw(20000.0 * k * sensitivity + 5, rng) for k in (1.0, 1.1, 0.9, 1.0)]
    flat = master_flat(flats, CAMERA, DETECTOR, bias, dark)
    ratio = flat.data / sensitivity
    assert np.median(flat.data) == pytest.approx(1.0)
    assert np.std(ratio / ratio.mean()) < 0.01
    # 500 electrons of sky, 5 of dark current in 10 s.
    image = with_variance(
        subtract_master_bias(assemble(raw(500 * sensitivity + 5, rng), DETECTOR), bias), DETECTOR
    )
    image = subtract_master_dark(image, dark)
    image = divide_by_flat(apply_gain(image, DETECTOR), flat)
    assert str(image.unit) == "electron"
    assert np.mean(image.data) / np.median(ratio**-1) == pytest.approx(500, rel=0.02)
    scatter = np.std(image.data) / np.sqrt(np.mean(image.uncertainty.array))
    assert scatter == pytest.approx(1.0, abs=0.07)


def test_dark_is_scaled_by_exposure_time():
    dark = CCDData(np.full((4, 4), 100.0), unit="adu", meta={"EXPTIME": 600.0})
    image = CCDData(np.full((4, 4), 50.0), unit="adu", meta={"EXPTIME": 120.0})
    assert np.allclose(subtract_master_dark(image, dark).data, 30.0)
    dark.header["EXPTIME"] = 0.0
    with pytest.raises(ValueError, match=r"exposure time of 0\.0 s"):
        subtract_master_dark(image, dark)


def test_flat_below_its_minimum_masks_and_does_not_divide():
    flat = CCDData(
        np.array([[1.0, 0.5], [0.01, np.nan]]), unit="", uncertainty=VarianceUncertainty(np.zeros((2, 2)))
    )
    result = divide_by_flat(CCDData(np.ones((2, 2)), unit="adu"), flat, minimum=0.1)
    assert result.mask.tolist() == [[False, False], [True, True]]
    assert result.data[0].tolist() == [1.0, 2.0]
    assert np.isfinite(result.data).all()


@given(st.floats(-100, 1e5), st.floats(0.2, 10), st.floats(0, 20))
def test_variance_is_at_least_that_of_the_read_noise(counts, gain, noise):
    variance = count_variance(np.array([counts]), gain, noise)[0]
    assert variance >= (noise / gain) ** 2
    # In electrons it is the number of electrons and the square of the noise.
    assert variance * gain**2 == pytest.approx(max(counts, 0) * gain + noise**2, rel=1e-9, abs=1e-9)


@settings(max_examples=10, deadline=None)
@given(st.floats(0.8, 4.0), st.floats(2.0, 8.0), st.integers(0, 1000))
def test_photon_transfer_gives_back_gain_and_noise(gain, noise, seed):
    rng = np.random.default_rng(seed)
    shape = (200, 128)
    biases = [rng.normal(0, noise, shape) for _ in range(4)]
    light = np.linspace(2000, 20000, shape[1])[None, :] * gain
    flats = [rng.poisson(light * k, shape) / gain + rng.normal(0, noise, shape) for k in (1.0, 1.02, 0.99)]
    found = photon_transfer(flats, biases)
    assert read_noise(biases) == pytest.approx(noise, rel=0.03)
    assert found.gain == pytest.approx(gain, rel=0.04)


def test_cosmic_rays_are_masked_and_stars_are_not(rng, make_image):
    image = make_image([40.0, 100.3], [50.0, 120.6], [40000.0, 9000.0], noise=0.0, sky=800.0, unit="electron")
    image.data = rng.poisson(image.data).astype(float)
    hit = image.copy()
    hit.data[150, 60:66] += 900.0
    mask = mask_cosmic_rays(hit, noise=5.0).mask
    assert mask[150, 60:66].all()
    assert not mask[45:56, 35:46].any()
    assert mask.sum() < 40


def test_isr_says_what_is_missing(rng):
    task = IsrTask(config=IsrConfig(use_dark=False, use_flat=False))
    with pytest.raises(ValueError, match="there is no bias: make one, or set use_bias=false"):
        task.run(raw(0.0, rng), CAMERA.to_dict(), None, None, None, {"detector": 3})


def test_cosmic_rays_need_electrons():
    with pytest.raises(ConfigError, match="electrons"):
        IsrConfig(electrons=False)


def test_amplifier_values_follow_columns(rng):
    image = assemble(raw(0.0, rng), DETECTOR)
    gains = amplifier_map(image, DETECTOR, "gain")
    assert gains.shape == (1, SIZE)
    assert gains[0, [0, 31, 32, 63]].tolist() == [2.0, 2.0, 1.5, 1.5]

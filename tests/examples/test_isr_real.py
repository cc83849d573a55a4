"""Instrument signature removal on real frames: the figures that they are known to give."""

from __future__ import annotations

import numpy as np
import pytest

from examples.isr.calibrations import master_bias, master_flat, saturated_fraction
from examples.isr.camera import Camera, section
from examples.isr.correct import subtract_master_dark
from examples.isr.readout import assemble
from examples.isr.tasks import FlatTask, IsrConfig, IsrTask, TransferConfig, TransferTask

pytestmark = pytest.mark.slow

BIASES, FLATS, SATURATED = (14, 15, 16, 17, 18), (3, 4, 5, 6), 2
HALVES = (slice(0, 1024), slice(1024, 2048))
FIRST = {"detector": 0}


def medians(image):
    return [float(np.median(image.data[:, half])) for half in HALVES]


def test_overscan_takes_the_step_between_amplifiers(kast, kast_camera):
    detector = kast_camera.detector(0)
    frames = kast(*BIASES)
    left, right = medians(assemble(frames[0], detector, overscan=False))
    assert right - left == 22.0
    left, right = medians(master_bias(frames, detector))
    assert right - left == pytest.approx(-0.10, abs=0.005)


def test_master_bias_has_the_known_medians(kast, kast_camera):
    assert medians(master_bias(kast(*BIASES), kast_camera.detector(0))) == pytest.approx(
        [1.00, 0.90], abs=0.005
    )


def test_master_flat_has_the_known_median(kast, kast_camera):
    detector = kast_camera.detector(0)
    bias = master_bias(kast(*BIASES), detector)
    flat = master_flat(kast(*FLATS), kast_camera, detector, bias, None, electrons=False)
    assert flat.header["FLATUNIT"] == "adu"
    assert round(flat.header["FLATLEV"]) == 7943


def test_saturated_flat_is_counted_and_left_out(kast, kast_camera, describe):
    detector = kast_camera.detector(0)
    (saturated,) = kast(SATURATED)
    assert round(saturated_fraction(saturated, detector) * 2048 * 350) == 51634
    bias = master_bias(kast(*BIASES), detector)
    flat = FlatTask().run(kast(SATURATED, *FLATS), describe("kast_blue"), bias, None, FIRST).flat
    assert flat.header["NCOMBINE"] == 4


def test_photon_transfer_gives_the_known_gain_and_read_noise(kast, describe):
    task = TransferTask(config=TransferConfig(rows=(25, 325)))
    found = task.run(kast(*BIASES, SATURATED, *FLATS), describe("kast_blue"), FIRST).transfer
    assert found["gain"].tolist() == pytest.approx([1.21, 1.25], abs=0.006)
    assert found["read_noise"].tolist() == pytest.approx([2.86, 2.70], abs=0.005)


def test_description_of_kast_blue_is_what_was_measured(kast, kast_camera, describe):
    task = TransferTask(config=TransferConfig(rows=(25, 325)))
    found = task.run(kast(*BIASES, *FLATS), describe("kast_blue"), FIRST).transfer
    amplifiers = kast_camera.detector(0).amplifiers
    assert [a.gain for a in amplifiers] == pytest.approx(found["gain"].tolist(), abs=0.01)
    assert [a.read_noise for a in amplifiers] == pytest.approx(
        found["read_noise_electrons"].tolist(), abs=0.02
    )


def test_dark_rows_are_as_noisy_as_their_variance_says(kast, kast_camera, describe):
    bias = master_bias(kast(*BIASES), kast_camera.detector(0))
    config = IsrConfig(use_dark=False, use_flat=False, find_cosmic_rays=False)
    image = IsrTask(config=config).run(kast(24)[0], describe("kast_blue"), bias, None, None, FIRST).isr_image
    # Above the slit there is no light: read noise, and what overscan and master bias add to it.
    for half in HALVES:
        dark = image.data[335:350, half]
        spread = 1.4826 * np.median(np.abs(dark - np.median(dark)))
        expected = np.sqrt(np.median(image.uncertainty.array[335:350, half]))
        assert spread / expected == pytest.approx(1.0, abs=0.06)


def test_sprat_dark_is_scaled_to_the_exposure(shared_data, describe, read_fits):
    folder = shared_data / "isr" / "lt_sprat"
    dark = read_fits(folder / "v_dark_1.fits.gz")
    flat = read_fits(folder / "v_slit_red_1.fits.gz")
    camera = Camera.from_dict(describe("lt_sprat"))
    for number in (1, 2):
        raw = read_fits(folder / f"v_e_20180810_12_{number}_0_0.fits.gz")
        assert raw.data.min() == 905
        assert np.median(raw.data) == 917
        assert raw.header["EXPTIME"] / dark.header["EXPTIME"] == pytest.approx(0.2)
        image = assemble(raw, camera.detector(0))
        corrected = subtract_master_dark(image, dark)
        assert np.allclose(image.data - corrected.data, 0.2 * dark.data, atol=1e-4)
        reduced = IsrTask(config=IsrConfig(use_bias=False)).run(
            raw, describe("lt_sprat"), None, dark, flat, FIRST
        )
        assert np.isfinite(reduced.isr_image.data).all()
    assert camera.detector(0).amplifiers[0].gain == "GAIN"
    assert raw.header["GAIN"] == 2.45


def test_ste3_is_reduced_by_what_its_header_says(shared_data, describe, read_fits):
    raw = read_fits(shared_data / "isr" / "saao_ste3" / "a8280271.fits")
    header = raw.header
    assert section("BIASSEC", header) == (slice(0, 520), slice(3, 13))
    assert section("TRIMSEC", header) == (slice(0, 520), slice(16, 528))
    assert (header["GAIN"], header["RDNOISE"]) == (1.9, 5.0)
    assert np.median(raw.data[section("BIASSEC", header)]) == 214
    assert np.median(raw.data[section("TRIMSEC", header)]) == 300
    config = IsrConfig(use_bias=False, use_dark=False, use_flat=False)
    image = IsrTask(config=config).run(raw, describe("saao_ste3"), None, None, None, FIRST).isr_image
    assert image.shape == (520, 512)
    assert np.median(image.data) == pytest.approx((300 - 214) * 1.9, rel=0.01)
    assert np.sqrt(np.median(image.uncertainty.array)) == pytest.approx(np.sqrt(86 * 1.9 + 25), rel=0.01)

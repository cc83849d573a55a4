"""Models of stellar spectra: quadratic in labels, and a network; on made-up stars and on real ones."""

from __future__ import annotations

import numpy as np
import pytest

from examples.spectra.cannon import fit_labels, train
from examples.spectra.payne import Network, fit_spectrum


def stars(n=60, pixels=30, seed=1):
    rng = np.random.default_rng(seed)
    labels = np.transpose([rng.uniform(4000, 5500, n), rng.uniform(1, 4, n), rng.uniform(-1, 0.4, n)])
    x = (labels - [4700, 2.5, -0.3]) / [1500, 3, 1.4]
    terms = np.hstack([np.ones((n, 1)), x, x**2, x[:, :1] * x[:, 1:2]])
    return labels, 1 + terms @ rng.normal(0, 0.05, (terms.shape[1], pixels))


def test_a_quadratic_world_is_learnt_exactly() -> None:
    labels, flux = stars()
    model = train(labels, flux, np.full(flux.shape, 1e4))
    assert np.allclose(model.flux(labels), flux, atol=1e-9)
    found, covariance = fit_labels(model, flux, np.full(flux.shape, 1e4))
    assert np.allclose(found, labels, rtol=1e-4, atol=1e-4)
    assert covariance.shape == (60, 3, 3)


def test_slopes_are_differences() -> None:
    labels, flux = stars()
    model = train(labels, flux, np.full(flux.shape, 1e4))
    for i in range(3):
        step = np.eye(3)[i] * 1e-4 * model.scales
        wanted = (model.flux(labels + step) - model.flux(labels - step)) / 2e-4
        assert np.allclose(model.slopes(labels)[..., i], wanted, atol=1e-6)


def test_pixels_without_data_change_nothing() -> None:
    labels, flux = stars()
    ivar = np.full(flux.shape, 1e4)
    spoiled = flux.copy()
    spoiled[::7, ::5], ivar[::7, ::5] = np.nan, 0.0
    model = train(labels, spoiled, ivar)
    assert np.allclose(model.flux(labels), flux, atol=1e-9)
    assert np.allclose(fit_labels(model, spoiled, ivar)[0], labels, rtol=1e-3, atol=1e-3)


def test_scatter_beyond_the_noise_is_found_and_labels_are_as_good_as_said() -> None:
    rng = np.random.default_rng(5)
    labels, flux = stars(400, 40)
    noisy = flux + rng.normal(0, 0.01, flux.shape) + rng.normal(0, 0.02, flux.shape)
    ivar = np.full(flux.shape, 1e4)
    model = train(labels, noisy, ivar)
    assert np.median(model.scatter) == pytest.approx(0.02, rel=0.1)
    found, covariance = fit_labels(model, noisy, ivar)
    pull = (found - labels) / np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    assert np.all(np.abs(1.4826 * np.median(np.abs(pull), axis=0) - 1) < 0.2)


def network(pixels=200, hidden=5, n=2, seed=2):
    rng = np.random.default_rng(seed)
    return Network(
        rng.normal(0, 2, (pixels, hidden, n)),
        rng.normal(0, 1, (pixels, hidden)),
        rng.normal(0, 0.1, (pixels, hidden)),
        np.ones(pixels),
        np.array([4000.0, 1.0]),
        np.array([6000.0, 5.0]),
    )


def test_a_network_gives_back_the_labels_of_its_spectrum() -> None:
    model = network()
    wavelength = np.linspace(15150, 15200, 200)
    truth = np.array([4700.0, 3.2])
    found = fit_spectrum(model, wavelength, model.flux(truth), np.full(200, 0.01))
    assert np.allclose(found.labels, truth, rtol=1e-3)
    assert abs(found.velocity) < 0.1
    step = np.array([1.0, 0.0])
    wanted = (model.flux(truth + step) - model.flux(truth - step)) / 2
    assert np.allclose(model.slopes(truth)[:, 0], wanted, atol=1e-8)


def test_real_stars_are_described_as_well_as_by_the_published_model(shared_data) -> None:
    """Which has further terms (third and fourth powers) and leaves 0.0129."""
    with np.load(shared_data / "spectra/cannon_apogee/apogee_671x100_labels_flux.npz") as arrays:
        labels, flux, noise = arrays["labels"].T, arrays["flux"], arrays["unc"]
    good = noise < 1
    ivar = np.where(good, noise**-2.0, 0.0)
    model = train(labels, flux, ivar)
    residual = (flux - model.flux(labels))[good]
    assert np.sqrt(np.mean(residual**2)) == pytest.approx(0.0129, abs=0.0004)
    found, _ = fit_labels(model, flux, ivar)
    off = 1.4826 * np.median(np.abs(found - labels), axis=0)
    assert (off < [180, 0.4, 0.2]).all()


def test_a_real_spectrum_is_fitted_with_the_published_network(shared_data) -> None:
    folder = shared_data / "spectra/payne_nn"
    with np.load(folder / "NN_normalized_spectra.npz") as arrays:
        model = Network.from_arrays(arrays)
    star = np.load(folder / "spectrum_ap_id_2M13012770+5754582_.npz")
    found = fit_spectrum(
        model,
        np.load(folder / "apogee_wavelength.npz")["wavelength"],
        star["spectrum"].astype(float),
        star["spec_err"].astype(float),
        mask=np.load(folder / "apogee_mask.npz")["apogee_mask"],
    )
    assert found.labels[0] == pytest.approx(4921, abs=5)
    assert found.labels[1] == pytest.approx(4.52, abs=0.01)
    assert found.labels[2] == pytest.approx(-0.20, abs=0.01)

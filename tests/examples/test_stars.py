"""From real files of SDSS to stellar parameters in one pipeline: ingest, noise, continuum, bundled fits."""

from __future__ import annotations

import numpy as np
import pytest

from executors import MultiprocessFramework
from executors.journal.times import times_of
from executors.outcome import QuantumStatus
from executors.quanta.recreation import recreate
from graphbuilder import GraphBuilder, QuantumBatcher
from supertask import Butler, Pipeline
from supertask.ingest.ingestion import ingest

pytest.importorskip("specutils", reason="needs the extra 'examples'")

from examples.spectra.products import SDSS_TREE
from examples.spectra.stellar import stage_network

HERE = SDSS_TREE.parent
RUN = "me/stars"
GUESS = (4300.0, 4.6, -0.3)
GUESSED = "2M14305591+0858023"
TEFF = (4200.5, 6995.8)
"""From where to where the network was trained, K."""


@pytest.fixture(scope="module")
def repository(shared_data, tmp_path_factory):
    root = tmp_path_factory.mktemp("stars") / "repo"
    with Butler.create(root, "spectra") as butler:
        report = ingest(
            butler, shared_data / "spectra/apogee_dr13", HERE / "apogee_headers.yaml", processes=1
        )
        assert not report.failed
        (release,) = {d["release"] for d in butler.query("apStar")}
        stage_network(butler, shared_data / "spectra/payne_nn", release=release)
    with Butler(root, collections=["raw/all", "stars/payne"]) as butler:
        pipeline = Pipeline.load(HERE / "stars_pipeline.yaml")
        pipeline.applyConfigOverrides([("fit:guesses", {GUESSED: GUESS}), ("fit:minimum_snr", 100.0)])
        plan = QuantumBatcher(max_quanta=4).batch(GraphBuilder(pipeline, butler, output_run=RUN).makeGraph())
        report = MultiprocessFramework(2).execute(plan, butler)
        assert report.exit_code == 0, report
    with Butler(root, collections=[RUN, "raw/all", "stars/payne"]) as found:
        yield found, plan, report


def by_star(butler, name):
    return {d.dataId["object"]: butler.get(d) for d in butler.query(name)}


@pytest.mark.slow
def test_each_step_goes_on_from_the_one_before(repository) -> None:
    butler, plan, report = repository
    snr, labels = by_star(butler, "apStar_snr"), by_star(butler, "star_labels")
    assert len(snr) == 8
    assert set(labels) == {star for star, each in snr.items() if each["snr"] >= 100.0}
    assert 0 < len(labels) < 8
    assert report.counts[QuantumStatus.NO_WORK] == 8 - len(labels)
    for star, found in labels.items():
        assert found["snr"] == snr[star]["snr"]
        assert TEFF[0] - 0.1 <= found["teff"] <= TEFF[1] + 0.1
        assert found["n_pixels"] > 5000
    del plan


@pytest.mark.slow
def test_stars_cooler_than_the_network_knows_are_told(repository) -> None:
    """All of them are: SDSS finds 2500 to 3800 K. What comes out lies at an end of some label's range."""
    for found in by_star(repository[0], "star_labels").values():
        assert found["at_limit"]


@pytest.mark.slow
def test_guesses_are_parameters_of_quanta_and_share_a_bundle(repository) -> None:
    butler, plan, _ = repository
    fits = [q for q in plan.quanta if q.label == "fit"]
    guesses = {q.dataId["object"]: q.parameters.initial_guess for q in fits}
    assert guesses.pop(GUESSED) == GUESS
    assert set(guesses.values()) == {(5500.0, 4.5, 0.0)}
    first = min(i for i, q in enumerate(plan.quanta) if q.label == "fit")
    bundling = plan.bundling()
    (sizes,) = {len(bundling[b]) for b in range(len(bundling)) if bundling[b][0] >= first}
    assert sizes == 4
    rows = [r for r in times_of(butler.root, RUN) if r.label == "fit" and r.status == "succeeded"]
    assert all(r.time_execute_bundle_overhead > 0 for r in rows)


@pytest.mark.slow
def test_a_fit_is_recreated_and_finds_the_same(repository) -> None:
    butler, plan, _ = repository
    index = next(i for i, q in enumerate(plan.quanta) if q.label == "fit" and q.dataId["object"] == GUESSED)
    work = recreate(butler, RUN, quantum=index)
    (attempt,) = work.run()
    assert attempt.status is QuantumStatus.SUCCEEDED
    (out,) = next(iter(work.quanta[0].outputs.values()))
    again, before = work.get(out), butler.get(out)
    assert np.isclose(again["teff"], before["teff"])
    assert work.quanta[0].parameters.initial_guess == GUESS
    work.close()


def test_wherever_a_fit_begins_it_finds_the_published_star(shared_data) -> None:
    from astropy import units as u
    from astropy.nddata import InverseVariance
    from specutils import Spectrum

    from examples.spectra.stars import FitStarConfig, FitStarParameters, FitStarTask

    folder = shared_data / "spectra/payne_nn"
    star = np.load(folder / "spectrum_ap_id_2M13012770+5754582_.npz")
    wavelength = np.load(folder / "apogee_wavelength.npz")["wavelength"]
    pixels = {"wavelength": wavelength, "mask": np.load(folder / "apogee_mask.npz")["apogee_mask"]}
    spectrum = Spectrum(
        flux=star["spectrum"].astype(float) * u.dimensionless_unscaled,
        spectral_axis=wavelength * u.AA,
        uncertainty=InverseVariance(star["spec_err"].astype(float) ** -2.0),
    )
    with np.load(folder / "NN_normalized_spectra.npz") as arrays:
        network = dict(arrays)
    task = FitStarTask(config=FitStarConfig())
    model = type("Known", (FitStarTask,), {"model": lambda self: task.model(network)})(config=task.config)
    for guess in ((5500.0, 4.5, 0.0), (4300.0, 4.9, -0.7), (9999.0, 0.0, 3.0)):
        found = model.run(spectrum, pixels, FitStarParameters(initial_guess=guess)).labels
        assert found["teff"] == pytest.approx(4921, abs=5)
        assert found["logg"] == pytest.approx(4.52, abs=0.01)
        assert found["fe_h"] == pytest.approx(-0.20, abs=0.01)
        assert not found["at_limit"]

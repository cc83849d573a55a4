"""Real spectra to stellar parameters, in bundles that share their models."""

from __future__ import annotations

import numpy as np
import pytest

from executors import MultiprocessFramework
from executors.journal.times import times_of
from graphbuilder import GraphBuilder, QuantumBatcher
from supertask import Butler, Pipeline

pytest.importorskip("specutils", reason="needs the extra 'examples'")

from examples.spectra.cannon import QuadraticModel, fit_labels
from examples.spectra.products import SDSS_TREE
from examples.spectra.stellar import stage_network, stage_training

RUN = "me/stars"


@pytest.fixture(scope="module")
def repository(shared_data, tmp_path_factory):
    root = tmp_path_factory.mktemp("stellar") / "repo"
    butler = Butler.create(root, "spectra")
    data = shared_data / "spectra"
    assert stage_training(butler, data / "cannon_apogee/apogee_671x100_labels_flux.npz") == 671
    assert stage_network(butler, data / "payne_nn") == 1
    with Butler(root, collections=["stars/cannon", "stars/payne"]) as found:
        pipeline = Pipeline.load(SDSS_TREE.parent / "stellar_pipeline.yaml")
        plan = QuantumBatcher(max_quanta=200).batch(GraphBuilder(pipeline, found, output_run=RUN).makeGraph())
        report = MultiprocessFramework(2).execute(plan, found)
        assert report.exit_code == 0, report
    with Butler(root, collections=[RUN, "stars/cannon", "stars/payne"]) as found:
        yield found


@pytest.mark.slow
def test_the_model_describes_the_stars_as_published(repository) -> None:
    arrays = repository.get("training_set", release="dr13")
    model = QuadraticModel(**repository.get("quadratic_model", release="dr13"))
    good = arrays["ivar"] > 0
    residual = (arrays["flux"] - model.flux(arrays["labels"]))[good]
    assert np.sqrt(np.mean(residual**2)) == pytest.approx(0.0129, abs=0.0004)


@pytest.mark.slow
def test_labels_of_671_stars_in_bundles_are_those_of_one_fit(repository) -> None:
    arrays = repository.get("training_set", release="dr13")
    model = QuadraticModel(**repository.get("quadratic_model", release="dr13"))
    at_once, _ = fit_labels(model, arrays["flux"], arrays["ivar"])
    found = sorted((d.dataId["object"], repository.get(d)) for d in repository.query("quadratic_labels"))
    labels = np.array([[f["teff"], f["logg"], f["m_h"]] for _, f in found])
    assert labels.shape == (671, 3)
    assert np.median(np.abs(labels - at_once) / [100, 0.1, 0.1]) < 1e-3
    off = 1.4826 * np.median(np.abs(labels - arrays["labels"]), axis=0)
    assert (off < [180, 0.4, 0.2]).all()


@pytest.mark.slow
def test_the_network_gives_the_published_star(repository) -> None:
    (dataset,) = repository.query("network_labels")
    found = repository.get(dataset)
    assert found["teff"] == pytest.approx(4921, abs=5)
    assert found["logg"] == pytest.approx(4.52, abs=0.01)
    assert found["fe_h"] == pytest.approx(-0.20, abs=0.01)


@pytest.mark.slow
def test_models_were_shared_and_their_time_is_dealt_out(repository) -> None:
    rows = [r for r in times_of(repository.root, RUN) if r.label == "fit"]
    assert len(rows) == 671
    assert all(r.time_execute_bundle_overhead > 0 for r in rows)

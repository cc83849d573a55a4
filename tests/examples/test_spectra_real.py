"""Real spectra of SDSS through ingest, plan and run: what was published of them comes out."""

from __future__ import annotations

import numpy as np
import pytest

from executors import InProcessFramework
from graphbuilder import GraphBuilder
from supertask import Butler, Pipeline
from supertask.conditions import Compare, Comparison, Constant, Name
from supertask.ingest.ingestion import ingest

pytest.importorskip("specutils", reason="needs the extra 'examples'")

from examples.spectra.products import SDSS_TREE

HERE = SDSS_TREE.parent

# Star → visits in its apStar, files of its visits, and how many of these SDSS combined.
STARS = {
    "2M00452143+1634446": (3, 3, 3),
    "2M03290406+3117075": (1, 0, 0),
    "2M05392474+4038437": (3, 3, 3),
    "2M12132318+3900529": (3, 3, 3),
    "2M12241699+2453335": (3, 8, 3),
    "2M13564148+4342587": (3, 3, 3),
    "2M14305591+0858023": (3, 3, 3),
    "2M17334253-1654573": (2, 0, 0),
}


@pytest.fixture(scope="module")
def repository(shared_data, tmp_path_factory):
    root = tmp_path_factory.mktemp("spectra") / "repo"
    butler = Butler.create(root, "spectra")
    for folder, translator in (("apogee_dr13", "apogee"), ("sdss_rm017", "spec")):
        report = ingest(
            butler, shared_data / "spectra" / folder, HERE / f"{translator}_headers.yaml", processes=1
        )
        assert not report.failed
    for name, run in (("pipeline", "me/apogee"), ("spec_pipeline", "me/spec")):
        plan = GraphBuilder(Pipeline.load(HERE / f"{name}.yaml"), butler, output_run=run).makeGraph()
        report = InProcessFramework().execute(plan, butler)
        assert report.exit_code == 0, report
    with Butler(root, collections=["me/apogee", "me/spec", "raw/all"]) as found:
        yield found


def by_id(butler, name):
    return {d.dataId: butler.get(d) for d in butler.query(name)}


@pytest.mark.slow
def test_signal_to_noise_of_stars_is_a_little_above_what_is_published(repository) -> None:
    """SDSS's figure counts pixels without data too, as zeros."""
    found = by_id(repository, "apStar_snr")
    assert len(found) == 8
    for value in found.values():
        assert 1.02 < value["snr"] / value["published"] < 1.10


@pytest.mark.slow
def test_signal_to_noise_of_the_middle_chip_is_what_is_published_of_a_visit(repository) -> None:
    from examples.spectra.snr import signal_to_noise

    assert len(repository.query("apVisit_snr")) == 23
    for visit in repository.query("apVisit"):
        spectrum = repository.get(visit)
        middle = signal_to_noise(spectrum, where=spectrum.meta["chip"] == 1)
        assert middle == pytest.approx(spectrum.meta["header"]["SNR"], rel=0.001)


@pytest.mark.slow
def test_the_rule_picks_exactly_the_visits_that_sdss_combined(repository) -> None:
    found = {d["object"]: v for d, v in by_id(repository, "visit_selection").items()}
    assert {s: (v["n_visits"], v["n_files"], len(v["kept"])) for s, v in found.items()} == STARS
    for value in found.values():
        if value["n_files"]:
            assert sorted(value["kept"]) == sorted(value["listed"])


@pytest.mark.slow
def test_the_mean_of_visits_is_the_combined_spectrum(repository) -> None:
    """Faint stars come out a little higher: SDSS weights them otherwise."""
    published = {d["object"]: v["published"] for d, v in by_id(repository, "apStar_snr").items()}
    for dataId, value in by_id(repository, "visit_selection").items():
        bright = published[dataId["object"]] > 30
        assert value["ratio"] == pytest.approx(1.0, abs=0.0011 if bright else 0.02)


@pytest.mark.slow
def test_signal_to_noise_of_spec_files_is_that_of_the_catalogue(repository) -> None:
    found = by_id(repository, "spec_snr")
    assert len(found) == 11
    for dataId, value in found.items():
        published = repository.get("spec", dataId).meta["catalogue"]["SN_MEDIAN_ALL"]
        assert 0.979 < value["snr"] / published < 0.9995


@pytest.mark.slow
def test_normalised_spectra_are_near_one(repository) -> None:
    for spectrum in by_id(repository, "apStar_normalised").values():
        for flux, mask in zip(spectrum.flux.value, spectrum.mask, strict=True):
            assert np.median(flux[~mask]) == pytest.approx(1.0, abs=0.05)


@pytest.mark.slow
def test_unset_labels_are_none_and_fitted_ones_are_there(repository) -> None:
    fitted = {d["object"]: v.meta["labels"] for d, v in by_id(repository, "aspcapStar").items()}
    assert fitted["2M00452143+1634446"]["PARAM"][0] is None
    assert fitted["2M00452143+1634446"]["FPARAM"][:2] == pytest.approx([2500.6, 1.0209], abs=0.01)
    assert fitted["2M14305591+0858023"]["FPARAM"][:2] == pytest.approx([2981.0, 4.41], abs=0.1)


@pytest.mark.slow
def test_units_are_known_with_their_fields(repository) -> None:
    month = Compare(Comparison.LE, Name("visit", "mjd"), Constant(56_600))
    found = repository.query("apVisit", where=month)
    assert ("2M00452143+1634446", 565870131) in [(d["object"], d["visit"]) for d in found]
    quasar = Compare(Comparison.EQ, Name("object"), Constant("499418441"))
    assert len(repository.query("spec", where=quasar)) == 9

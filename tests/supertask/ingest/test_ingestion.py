from __future__ import annotations

import gzip
import importlib.metadata
import multiprocessing
import os
import shutil
import signal
import sys
import time
import types
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import attrs
import numpy as np
import pytest
from astropy.io import fits

from supertask.butler.memory import InMemoryButler
from supertask.butler.repository import Butler
from supertask.errors import IngestError
from supertask.ingest import HeaderTranslator, ingest, reading
from supertask.sky import SkyMap, check_relation
from supertask.sky.overlaps import overlaps
from supertask.times import tai_ns


def reasons(report):
    return {os.path.basename(path): reason for path, reason in report.failed}


def test_a_folder_becomes_datasets_units_and_their_relations(butler, translator, write_frame):
    for i in range(3):
        for ccd in range(2):
            write_frame(f"e{i}c{ccd}.fits", EXPID=i, CCD=ccd)
    write_frame("bias.fits", EXPID=9, OBJECT="bias", FILTER=None, folder="in/deeper/still")
    report = ingest(butler, write_frame("e7c0.fits", EXPID=7).parent, translator)
    assert (len(report.ingested), report.skipped, report.failed) == (8, (), ())
    assert len(butler.query("raw")) == 8
    assert [v["visit"] for v in butler.units("visit")] == [0, 1, 2, 7]
    (visit,) = [v for v in butler.units("visit") if v["visit"] == 7]
    assert visit["physical_filter"] == "r1"
    assert visit["obs_time"] == tai_ns("2026-01-05T03:00:15")
    bias = butler.get("raw", instrument="Cam", exposure=9, detector=0)
    assert bias.header["OBJECT"] == "bias"


def test_running_again_adds_only_what_is_new(butler, translator, write_frame):
    folder = write_frame("a.fits", EXPID=1).parent
    ingest(butler, folder, translator)
    write_frame("b.fits", EXPID=2)
    report = ingest(butler, folder, translator)
    assert [d.dataId["exposure"] for d in report.ingested] == [2]
    assert [os.path.basename(p) for p, _ in report.skipped] == ["a.fits"]
    assert not ingest(butler, folder, translator).ingested


def test_a_file_that_changed_is_reported_and_the_old_one_stands(butler, translator, write_frame):
    path = write_frame("a.fits", EXPID=1)
    ingest(butler, path, translator, transfer="copy")
    path.unlink()
    write_frame("a.fits", EXPID=1, data=np.ones((3, 3), np.int16))
    report = ingest(butler, path, translator, transfer="copy")
    assert "with other content" in reasons(report)["a.fits"]
    assert butler.get(butler.query("raw")[0]).shape == (20, 30)


def test_two_files_that_claim_one_data_id_are_both_named(butler, translator, write_frame):
    write_frame("a.fits", EXPID=1)
    write_frame("b.fits", EXPID=1, data=np.ones((3, 3), np.int16))
    report = ingest(butler, write_frame("c.fits", EXPID=2).parent, translator)
    assert [d.dataId["exposure"] for d in report.ingested] == [2]
    assert "b.fits" in reasons(report)["a.fits"]
    assert "a.fits" in reasons(report)["b.fits"]


def test_a_second_copy_of_a_file_is_passed_over(butler, translator, write_frame, tmp_path):
    path = write_frame("a.fits", EXPID=1)
    shutil.copy(path, path.with_name("z.fits"))
    report = ingest(butler, path.parent, translator)
    assert len(report.ingested) == 1
    assert [(os.path.basename(p), "byte for byte" in why) for p, why in report.skipped] == [("z.fits", True)]


def test_bad_files_are_named_and_hinder_no_other(butler, translator, write_frame, tmp_path):
    folder = write_frame("good.fits", EXPID=1).parent
    whole = write_frame("cut.fits", EXPID=2)
    os.truncate(whole, 4000)
    (folder / "empty.fits").touch()
    (folder / "page.fit").write_text("<html>")
    (folder / "dir.fits").mkdir()
    (folder / "loose.fits").symlink_to("nowhere")
    write_frame("lacking.fits", EXPID=None)
    write_frame("nan.fits", EXPID=4, data=np.full((3, 3), np.nan))
    (folder / "notes.txt").write_text("not looked at")
    report = ingest(butler, [folder, tmp_path / "missing.fits"], translator)
    assert [d.dataId["exposure"] for d in report.ingested] == [1]
    found = reasons(report)
    for name, says in {
        "cut.fits": "truncated",
        "empty.fits": "empty",
        "page.fit": "not a FITS file",
        "dir.fits": "empty folder",
        "loose.fits": "not there",
        "lacking.fits": "card EXPID is missing",
        "nan.fits": "undefined",
        "missing.fits": "no such file",
    }.items():
        assert says in found.pop(name)
    assert not found


def test_every_real_bad_file_is_refused_by_name(butler, translator, shared_data):
    report = ingest(butler, shared_data / "bad_inputs", translator)
    assert not report.ingested
    assert len(report.failed) == 6


def test_an_exposure_that_contradicts_what_is_known_is_refused_alone(butler, translator, write_frame):
    write_frame("a.fits", EXPID=1, CCD=0)
    write_frame("b.fits", EXPID=1, CCD=1, FILTER="g1")
    report = ingest(butler, write_frame("c.fits", EXPID=1, CCD=2).parent, translator)
    assert len(report.ingested) == 2
    assert "its physical_filter is 'g1' here and 'r1' in" in reasons(report)["b.fits"]
    again = write_frame("d.fits", EXPID=1, CCD=3, FILTER="i1")
    assert "'r1' in the repository" in reasons(ingest(butler, again, translator))["d.fits"]


def test_detectors_may_differ_a_little_and_nulls_are_filled_in_later(butler, translator, write_frame):
    ingest(butler, write_frame("a.fits", EXPID=1, CCD=0, EXPTIME=30.0), translator)
    report = ingest(butler, write_frame("b.fits", EXPID=1, CCD=1, EXPTIME=30.001), translator)
    assert report.ok
    (exposure,) = butler.units("exposure")
    assert exposure["exposure_time"] == 30.0


def test_a_visit_of_several_exposures_sums_what_is_to_be_summed(butler, write_frame):
    translator = HeaderTranslator.from_yaml(
        "name: c\nvalues:\n  instrument: C\n  physical_filter: r1\n  band: r\n  detector: {card: CCD}\n"
        "  exposure: {card: EXPID}\n"
        "  exposure.exposure_time: {card: EXPTIME}\n  visit: 1\ncombine: {visit.exposure_time: sum}\n"
        "datasets: [{type: raw, units: [exposure, detector], storage: fits_image}]\n"
    )
    for i in range(3):
        for ccd in range(2):
            write_frame(f"{i}-{ccd}.fits", EXPID=i, CCD=ccd, EXPTIME=10.0 + i)
    ingest(butler, write_frame("x.fits", EXPID=5, EXPTIME=1.0).parent, translator)
    assert butler.units("visit")[0]["exposure_time"] == 10 + 11 + 12 + 1


@pytest.mark.parametrize("transfer", ["link", "copy", "move"])
def test_files_can_be_brought_into_the_repository(butler, translator, write_frame, transfer):
    path = write_frame("a.fits", EXPID=1)
    zipped = path.with_name("b.fits.gz")
    zipped.write_bytes(gzip.compress(write_frame("b.fits", EXPID=2).read_bytes()))
    path.with_name("b.fits").unlink()
    report = ingest(butler, path.parent, translator, transfer=transfer)
    assert report.ok
    locations = sorted(butler.locate(d).location for d in report.ingested)
    assert all(loc.startswith("raw/all/raw/") for loc in locations)
    assert locations[1].endswith(".fits.gz")
    assert path.exists() == (transfer != "move")
    for dataset in report.ingested:
        assert butler.get(dataset).shape == (20, 30)
        butler.verify(dataset)
    left_over = list(butler.datastore.temporary_files())
    assert not left_over


def test_files_left_where_they_are_are_not_deleted_with_the_dataset(butler, translator, write_frame):
    path = write_frame("a.fits", EXPID=1)
    report = ingest(butler, path, translator)
    butler.remove(report.ingested, run="raw/all")
    assert path.exists()
    assert ingest(butler, path, translator).ingested


def test_a_leftover_of_an_interrupted_copy_is_in_nobodys_way(butler, translator, write_frame):
    path = write_frame("a.fits", EXPID=1)
    (dataset,) = ingest(butler, path, translator, transfer="copy").ingested
    place = butler.path_of(dataset)
    butler.remove([dataset], run="raw/all")
    os.makedirs(os.path.dirname(place), exist_ok=True)
    with open(place, "wb") as file:
        file.write(b"half a fi")
    (dataset,) = ingest(butler, path, translator, transfer="copy").ingested
    assert butler.get(dataset).shape == (20, 30)


def test_each_detector_of_a_multi_extension_file_is_read_on_its_own(butler, tmp_path):
    translator = HeaderTranslator.from_yaml(
        "name: mosaic\nhdu: all\nvalues:\n  instrument: M\n  exposure: {card: EXPID}\n"
        "  detector: {card: CCDNUM}\n"
        "datasets: [{type: raw, units: [exposure, detector], storage: fits_image}]\n"
    )
    hdus = fits.HDUList([fits.PrimaryHDU()])
    hdus[0].header["EXPID"] = 5
    for i in range(1, 4):
        hdus.append(fits.ImageHDU(np.full((4, 5), i, np.int16)))
        hdus[-1].header["CCDNUM"] = i
    for transfer, run in (("direct", "a"), ("copy", "b")):
        if transfer == "direct":
            hdus.writeto(tmp_path / "m.fits")
        report = ingest(butler, tmp_path / "m.fits", translator, run=run, transfer=transfer)
        assert len(report.ingested) == 3
        reader = Butler(butler.root, collections=[run])
        for i in range(1, 4):
            assert np.all(reader.get("raw", instrument="M", exposure=5, detector=i).data == i)
        reader.close()
    assert not ingest(butler, tmp_path / "m.fits", translator, run="a").ingested


def _ingest_in_another_process(root, folder, translator, transfer, queue):
    with Butler(root) as butler:
        report = ingest(butler, folder, translator, transfer=transfer)
        queue.put((len(report.ingested), report.failed))


@pytest.mark.slow
@pytest.mark.parametrize("transfer", ["direct", "copy"])
def test_two_ingests_at_once_do_no_harm(butler, translator, write_frame, transfer):
    for i in range(40):
        path = write_frame(f"{i}.fits", EXPID=i)
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    arguments = (butler.root, str(path.parent), translator, transfer, queue)
    workers = [context.Process(target=_ingest_in_another_process, args=arguments) for _ in range(2)]
    for worker in workers:
        worker.start()
    answers = [queue.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join(60)
    assert sum(count for count, _ in answers) >= 40
    assert not any(failed for _, failed in answers)
    found = butler.query("raw")
    assert len(found) == 40
    for dataset in found:
        butler.verify(dataset)


@attrs.frozen
class _Deadly(HeaderTranslator):
    """A translator that kills its process on one file, as a broken C library does."""

    def frames(self, file, model):
        if file.path.endswith("13.fits"):
            os._exit(1)
        return super().frames(file, model)


@pytest.mark.slow
def test_processes_read_in_parallel_and_one_that_dies_is_blamed_on_its_file(butler, translator, write_frame):
    for i in range(40):
        path = write_frame(f"{i}.fits", EXPID=i)
    deadly = _Deadly(**{a.name: getattr(translator, a.name) for a in attrs.fields(HeaderTranslator)})
    told = []
    report = ingest(
        butler,
        path.parent,
        deadly,
        processes=2,
        progress=lambda stage, done, total: told.append((stage, done, total)),
    )
    assert len(report.ingested) == 39
    assert reasons(report) == {"13.fits": "the process that read it died"}
    assert ("read", 40, 40) in told
    assert ("register", 39, 39) in told


def test_a_translator_with_a_bug_refuses_the_file_and_goes_on(butler, translator, write_frame):
    class Buggy(HeaderTranslator):
        def frames(self, file, model):
            return 1 / 0 if file.path.endswith("a.fits") else super().frames(file, model)

    buggy = Buggy(**{a.name: getattr(translator, a.name) for a in attrs.fields(HeaderTranslator)})
    write_frame("a.fits", EXPID=1)
    report = ingest(butler, write_frame("b.fits", EXPID=2).parent, buggy)
    assert len(report.ingested) == 1
    assert "ZeroDivisionError" in reasons(report)["a.fits"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"transfer": "teleport"}, "transfer must be one of direct, link, copy, move"),
        ({"translator": "kats"}, "there is no translator 'kats'"),
        ({"translator": "nowhere.yaml"}, "nowhere.yaml"),
        ({"translator": 5}, "5 is no translator"),
        ({"processes": 0}, "processes must be 1 or more"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_done(
    butler, translator, write_frame, arguments, says
):
    arguments = {"translator": translator, **arguments}
    with pytest.raises(IngestError, match=says):
        ingest(butler, write_frame().parent, **arguments)
    assert not butler.collection_infos()


@pytest.mark.parametrize("transfer", ["direct", "copy", "move"])
def test_stopped_anywhere_and_run_again_it_goes_on(butler, translator, write_frame, monkeypatch, transfer):
    monkeypatch.setattr("supertask.ingest.ingestion._CHUNK", 4)
    for i in range(10):
        path = write_frame(f"{i}.fits", EXPID=i)

    def stop(stage, done, total):
        if stage == "register" and done >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest(butler, path.parent, translator, transfer=transfer, progress=stop)
    assert len(butler.query("raw")) == 4
    report = ingest(butler, path.parent, translator, transfer=transfer)
    assert (len(report.ingested), report.failed) == (6, ())
    assert len(butler.query("raw")) == 10


def test_a_package_offers_a_translator_by_name(butler, translator, write_frame, monkeypatch):
    entry = importlib.metadata.EntryPoint("cam", "cam_package:translator", "supertask.translators")
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [entry])
    monkeypatch.setitem(sys.modules, "cam_package", types.SimpleNamespace(translator=lambda: translator))
    assert len(ingest(butler, write_frame(), "cam").ingested) == 1
    with pytest.raises(IngestError, match="did you mean 'cam'"):
        ingest(butler, write_frame("b.fits"), "camm")


def test_an_empty_folder_is_said_to_be(butler, translator, tmp_path):
    (tmp_path / "void").mkdir()
    assert "no FITS files" in reasons(ingest(butler, tmp_path / "void", translator))["void"]


def test_links_that_go_round_are_followed_once(butler, translator, write_frame):
    folder = write_frame("a.fits", EXPID=1).parent
    (folder / "loop").symlink_to(folder)
    assert len(ingest(butler, folder, translator).ingested) == 1


def test_into_a_butler_in_memory(translator, write_frame):
    butler = InMemoryButler("imaging")
    path = write_frame("a.fits", EXPID=1)
    assert len(ingest(butler, path, translator).ingested) == 1
    with pytest.raises(IngestError, match="no folder to put files in"):
        ingest(butler, path, translator, transfer="copy")


def test_real_frames_with_plate_solutions_are_related_to_patches(butler, shared_data):
    skymap = SkyMap.around(31.0, 46.74, name="hatp32", pixel_scale=5.16, patch_size=(240, 310), grid=(4, 2))
    skymap.register(butler)
    translator = HeaderTranslator.from_yaml(
        "name: hatp32\nwcs: wcs/{stem}.wcs\nvalues:\n  instrument: MicroObservatory\n  detector: 0\n"
        "  physical_filter: {card: FILTER}\n  band: clear\n  exposure: {file: 'HATP-32([0-9]+)'}\n"
        "  exposure.obs_type: science\n  exposure.obs_time: {card: DATE-OBS}\n  visit: {from: exposure}\n"
        "datasets: [{type: raw, units: [exposure, detector], storage: fits_image}]\n"
    )
    report = ingest(butler, shared_data / "coadd" / "hatp32_microobs", translator)
    assert (len(report.ingested), report.failed, report.warnings) == (24, (), ())
    with butler.reader() as reader:
        patches = reader.units("patch")
        related = reader.relation("overlap").units["patch"]
    counts = [int(np.sum(related == i)) for i in patches.ids[np.argsort(patches.keys)]]
    assert counts == [18, 24, 24, 19, 17, 24, 24, 19]
    assert report.related == sum(counts)


def _wcs_cards(ra, dec):
    return {
        "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": ra, "CRVAL2": dec, "CRPIX1": 15.5,
        "CRPIX2": 10.5, "CDELT1": -0.01, "CDELT2": 0.01,
    }  # fmt: skip


def test_new_frames_are_related_to_the_sky_maps_that_are_there_and_only_they(
    butler, translator, write_frame, tmp_path, monkeypatch
):
    skymap = SkyMap.around(10.0, 89.9, name="pole", pixel_scale=36.0, patch_size=50, grid=(2, 2))
    skymap.register(butler)
    write_frame("a.fits", EXPID=1, **_wcs_cards(10.0, 89.9))
    write_frame("b.fits", EXPID=2, **_wcs_cards(200.0, 0.0))
    first = ingest(butler, tmp_path / "in", translator)
    assert first.ok
    assert first.related == 4
    computed = []

    def counted(footprints, *arguments, **options):
        computed.append(footprints.keys["visit"].tolist())
        return overlaps(footprints, *arguments, **options)

    monkeypatch.setattr("supertask.sky.relate.overlaps", counted)
    write_frame("c.fits", EXPID=3, **_wcs_cards(190.0, 89.9))
    write_frame("d.fits", EXPID=4, **_wcs_cards(10.0, 89.9) | {"CDELT1": 0.0})
    second = ingest(butler, tmp_path / "in", translator)
    assert computed == [[3]]
    assert (len(second.ingested), second.related) == (2, 2)
    assert [os.path.basename(path) for path, _ in second.warnings] == ["d.fits"]
    assert check_relation(butler, skymap).same


def test_processes_that_read_end_without_a_traceback_when_interrupted(capfd):
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn, reading._end_in_silence) as pool:
        with reading._undisturbed():
            begun = pool.submit(os.getpid)  # starts the process, which cannot be disturbed until it is ready
        os.kill(begun.result(), signal.SIGINT)
        with pytest.raises(BrokenProcessPool):
            pool.submit(time.sleep, 60).result()
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert capfd.readouterr().err == ""

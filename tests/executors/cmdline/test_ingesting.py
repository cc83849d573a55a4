"""``supertask ingest``: files in, bad ones by name, again adds only what is new."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

TRANSLATOR = r"""
name: tiny
values:
  instrument: Cam
  detector: {card: CCD}
  exposure: {file: 'f(\d+)'}
  exposure.obs_type: science
datasets:
  - {type: raw, units: [exposure, detector], storage: fits_image}
"""


@pytest.fixture
def night(call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder with an empty repository, a translator, and `night` with three frames, one of them cut off."""
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(TRANSLATOR)
    Path("night").mkdir()
    for number in (1, 2, 3):
        fits.PrimaryHDU(np.zeros((4, 4), "float32"), fits.Header({"CCD": number % 2})).writeto(
            f"night/f{number}.fits"
        )
    Path("night/f3.fits").write_bytes(Path("night/f3.fits").read_bytes()[:3000])
    assert call("init", "repo").code == 0
    return tmp_path


def test_bad_file_is_named_and_hinders_no_other(call, night: Path) -> None:
    said = call("ingest", "repo", "night", "--translator", "tiny.yaml")
    assert said.code == 1
    assert "f3.fits  truncated" in said.out
    assert "ingested 2 raw into raw/all" in said.out
    assert [row["exposure"] for row in call("query", "repo", "raw", "--json").rows] == [1, 2]


def test_again_adds_only_what_is_new(call, night: Path) -> None:
    call("ingest", "repo", "night", "--translator", "tiny.yaml")
    Path("night/f3.fits").unlink()
    fits.PrimaryHDU(np.zeros((4, 4), "float32"), fits.Header({"CCD": 1})).writeto("night/f4.fits")
    said = call("ingest", "repo", "night", "--translator", "tiny.yaml", "--json")
    assert said.code == 0
    (row,) = said.rows
    assert (row["ingested"], len(row["skipped"]), row["failed"]) == (1, 2, [])


def test_files_can_be_copied_into_a_run_of_choice(call, night: Path) -> None:
    words = ("night/f1.fits", "--translator", "tiny.yaml", "--run", "raw/mine", "--transfer", "copy", "-j", 1)
    assert call("ingest", "repo", *words).code == 0
    (row,) = call("query", "repo", "raw", "--collections", "raw/mine", "--files", "--json").rows
    assert Path("repo", row["location"]).is_file()


def test_path_that_is_not_there_is_named(call, night: Path) -> None:
    said = call("ingest", "repo", "nowhere", "--translator", "tiny.yaml")
    assert said.code == 1
    assert "nowhere" in said.out


def test_wrong_translator_is_bad_input(call, night: Path) -> None:
    Path("tiny.yaml").write_text(TRANSLATOR.replace("detector:", "detectr:"))
    said = call("ingest", "repo", "night", "--translator", "tiny.yaml")
    assert said.code == 2
    assert "detectr" in said.err

from __future__ import annotations

import gzip
import os

import numpy as np
import pytest
from astropy.io import fits

from supertask.butler.content import checksum_file
from supertask.errors import IngestError
from supertask.ingest.fitsfile import read_fits


def refusal(path, **kwargs):
    with pytest.raises(IngestError) as caught:
        read_fits(str(path), **kwargs)
    return str(caught.value)


def test_a_sound_file_gives_its_headers_and_checksum(write_frame):
    path = write_frame(checksum=True)
    file = read_fits(str(path))
    assert file.hdus[0].header["OBJECT"] == "M31"
    assert file.images[0].shape == (20, 30)
    assert file.checksum == checksum_file(path)
    assert file.size == path.stat().st_size


def test_gzip_is_told_by_content_and_its_checksum_is_of_the_file_as_it_lies(write_frame, tmp_path):
    path = tmp_path / "named-plainly.fits"
    path.write_bytes(gzip.compress(write_frame().read_bytes()))
    file = read_fits(str(path))
    assert file.images[0].shape == (20, 30)
    assert file.checksum == checksum_file(path)


def test_a_compressed_image_is_an_image(tmp_path):
    path = tmp_path / "a.fits.fz"
    data = np.arange(600, dtype=np.int16).reshape(20, 30)
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(data, name="SCI")]).writeto(path, checksum=True)
    file = read_fits(str(path))
    assert [(h.index, h.name, h.shape) for h in file.images] == [(1, "SCI", (20, 30))]


@pytest.mark.parametrize("kept", [100, 2880, 2881, 3000, 5759])
def test_a_file_cut_anywhere_is_truncated(write_frame, kept):
    path = write_frame()
    assert path.stat().st_size == 5760
    os.truncate(path, kept)
    assert "truncated" in refusal(path)


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
def test_a_gzip_file_cut_anywhere_is_truncated(write_frame, tmp_path, kept):
    whole = gzip.compress(write_frame().read_bytes())
    path = tmp_path / "cut.fits.gz"
    path.write_bytes(whole[: int(kept * len(whole))])
    assert "truncated" in refusal(path)


def test_a_changed_pixel_is_found_by_datasum(write_frame):
    path = write_frame(checksum=True)
    data = bytearray(path.read_bytes())
    data[2880] ^= 1
    path.write_bytes(data)
    said = refusal(path)
    assert "DATASUM" in said
    assert "CHECKSUM" in said
    assert read_fits(str(path), ignore_cards=["DATASUM", "CHECKSUM"]).images


def test_a_changed_card_is_found_by_checksum_alone(write_frame):
    path = write_frame(checksum=True)
    data = path.read_bytes().replace(b"'M31", b"'M32")
    path.write_bytes(data)
    said = refusal(path)
    assert "CHECKSUM" in said
    assert "DATASUM" not in said


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "the file is empty"),
        (b"<html>404</html>", "not a FITS file"),
        (b"SIMPLE  =                    T" + b" " * 50, "truncated"),
        (b"\x1f\x8b garbage garbage", "gzip data is damaged"),
        (b"\0" * 5760, "not a FITS file"),
    ],
)
def test_what_is_no_fits_file_is_refused(tmp_path, content, says):
    path = tmp_path / "a.fits"
    path.write_bytes(content)
    assert says in refusal(path)


def test_stray_bytes_at_the_end_are_refused(write_frame):
    path = write_frame()
    path.write_bytes(path.read_bytes() + b"x" * 2880)
    assert "are no HDU" in refusal(path)


def test_blank_blocks_at_the_end_do_no_harm(write_frame):
    path = write_frame()
    path.write_bytes(path.read_bytes() + b"\0" * 2880)
    assert read_fits(str(path)).images


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (b"BITPIX  =                   16", b"BITPIX  =                   17", "BITPIX is 17"),
        (
            b"NAXIS1  =                   30",
            b"NAXIS1  =                   x0",
            "NAXIS1 must be a whole number",
        ),
        (b"NAXIS1  =                   30", b"NAXIS9  =                   30", "NAXIS1 is missing"),
        (b"NAXIS1  =                   30", b"NAXIS1  =                  -30", "negative"),
        (b"NAXIS1  =                   30", b"NAXIS1  =    99999999999999999", "truncated"),
        (
            b"EXPTIME =                 30.0",
            b"EXPTIME =           30 seconds",
            "EXPTIME is not of the FITS standard",
        ),
        (b"'M31     '", b"'M31 \n   '", "holds a newline"),
        (b"END ", b"END2", "truncated"),
        (b"SIMPLE  =                    T", b"SIMPLE  =                    F", "SIMPLE"),
    ],
)
def test_cards_that_are_wrong_are_named(write_frame, old, new, says):
    path = write_frame()
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))
    assert says in refusal(path)


def test_not_a_number_is_taken_for_unknown(write_frame):
    path = write_frame()
    path.write_bytes(
        path.read_bytes().replace(b"EXPTIME =                 30.0", b"EXPTIME =                  NaN")
    )
    assert read_fits(str(path)).images


@pytest.mark.parametrize(
    "data", [np.full((5, 5), np.nan, np.float32), np.full((5, 5), np.nan, np.float64)], ids=["f4", "f8"]
)
def test_an_image_of_nothing_but_nan_is_refused(write_frame, data):
    assert "every pixel is undefined" in refusal(write_frame(data=data))
    data[4, 4] = 1.0
    assert read_fits(str(write_frame("b.fits", data=data))).images


def test_a_folder_a_loose_link_and_a_missing_file_are_refused(tmp_path):
    (tmp_path / "d.fits").mkdir()
    (tmp_path / "l.fits").symlink_to(tmp_path / "nowhere")
    assert "folder" in refusal(tmp_path / "d.fits")
    assert "link" in refusal(tmp_path / "l.fits")
    assert "no such file" in refusal(tmp_path / "m.fits")


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "p.fits")
    assert "not a regular file" in refusal(tmp_path / "p.fits")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_refused(write_frame):
    path = write_frame()
    path.chmod(0)
    assert "cannot be read: Permission denied" in refusal(path)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("blank.fits", "every pixel is undefined"),
        ("checksum_false.fits", "DATASUM says 3949466131"),
        ("dss.14.29.56-62.41.05.fits.gz", "card SKEW is not of the FITS standard"),
        ("header_newlines.fits", "CHECKSUM does not hold"),
        ("header_with_time_wcslib71.fits", "truncated: .*the file has 8,880 bytes, and should have 11,520"),
        ("memtest.fits", "DATASUM must be a whole number"),
    ],
)
def test_real_bad_files_are_refused_with_the_true_reason(shared_data, name, says):
    with pytest.raises(IngestError, match=says):
        read_fits(str(shared_data / "bad_inputs" / name))


def test_real_good_files_are_taken(shared_data):
    found = [*shared_data.glob("isr/*/*.fits*"), *shared_data.glob("coadd/hatp32_microobs/*.FITS")]
    found += [*shared_data.glob("coadd/stargate_iraf/*.fit*")]
    assert len(found) > 40
    for path in found:
        assert read_fits(str(path)).images

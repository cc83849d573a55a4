from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import (
    CCDData,
    InverseVariance,
    NDData,
    StdDevUncertainty,
    UnknownUncertainty,
    VarianceUncertainty,
)
from astropy.wcs import WCS, Sip

from supertask.errors import StorageError
from supertask.formats.find import find_format
from supertask.testing.formats import FormatContract

IMAGE = find_format("fits_image")
HDUS = find_format("fits_hdus")


def sip_wcs():
    w = WCS(naxis=2)
    w.wcs.ctype = ["RA---TAN-SIP", "DEC--TAN-SIP"]
    w.wcs.crval = [31.123456789012345, 46.7 + 1e-13]
    w.wcs.crpix = [10.5, 20.25 + 1 / 3]
    w.wcs.cd = np.array([[1e-4 / 3, 1e-6], [1e-6, 1e-4 / 7]])
    a = np.zeros((3, 3))
    a[0, 2] = 1.23456789e-6
    w.sip = Sip(a, a.T, None, None, w.wcs.crpix)
    w.wcs.set()
    return w


def header():
    h = fits.Header()
    h["OBJECT"] = ("M 31", "what was looked at")
    h["HIERARCH ESO DET long name"] = 3.25
    h["EXPTIME"] = 30.1
    h["DATE-OBS"] = "2020-01-01T00:00:00"
    h["NOTHING"] = None
    h["LONG"] = "x" * 100
    h["YES"] = True
    h.add_comment("a comment")
    h.add_blank()
    h.add_history("first")
    h.add_history("second")
    return h


def image(dtype="f4", **kwargs):
    data = (np.arange(600) % 2).reshape(30, 20).astype(dtype)
    made = CCDData(data, **{"unit": "adu", "meta": header(), **kwargs})
    made.data = data
    return made


def full():
    made = image(
        wcs=sip_wcs(),
        mask=np.arange(600).reshape(30, 20) % 7 == 0,
        uncertainty=VarianceUncertainty(np.full((30, 20), 2.5, "f4")),
    )
    made.flags = (np.arange(600).reshape(30, 20) % 1000).astype("u2")
    return made


def plain():
    made = image("u2", unit=u.electron / u.s, uncertainty=StdDevUncertainty(np.ones((30, 20))))
    made.meta = fits.Header()
    return made


def cards(made):
    return [str(c) for c in made.header.cards]


class TestFitsImage(FormatContract):
    format = IMAGE
    values = (
        full,
        plain,
        lambda: image("f8", unit=""),
        lambda: image("f4", uncertainty=InverseVariance(np.ones((30, 20)))),
    )
    refused = (
        "text",
        np.array(["a"]),
        np.zeros((2, 2), complex),
        np.zeros((2, 2), np.float16),
        np.float64(1),
    )

    def same(self, a, b):
        def equal(x, y):
            return (x is None and y is None) or (
                x is not None and y is not None and x.dtype == y.dtype and np.array_equal(x, y)
            )

        def arrays(c):
            return c.uncertainty.array if c.uncertainty is not None else None

        if not (equal(a.data, b.data) and equal(a.mask, b.mask) and equal(a.flags, b.flags)):
            return False
        if type(a.uncertainty) is not type(b.uncertainty) or not equal(arrays(a), arrays(b)):
            return False
        if a.unit != b.unit or cards(a) != cards(b) or (a.wcs is None) != (b.wcs is None):
            return False
        if a.wcs is not None:
            xy = np.array([[0, 0], [3.5, 7.25], [19, 29]])
            return np.array_equal(a.wcs.all_pix2world(xy, 0), b.wcs.all_pix2world(xy, 0))
        return True


@pytest.mark.parametrize("dtype", ["f4", "f8", "i2", "u2", "i4", "u4", "i8", "u8", "u1", "i1", "?"])
def test_every_type_of_pixel_comes_back_in_native_byte_order(tmp_path, dtype):
    path = str(tmp_path / "x.fits")
    for written in (image(dtype), image(np.dtype(dtype).newbyteorder(">"))):
        Path(path).unlink(missing_ok=True)
        IMAGE.write(written, path)
        found = IMAGE.read(path, {})
        assert found.data.dtype == np.dtype(dtype)
        assert found.data.dtype.isnative
        assert np.array_equal(found.data, written.data)
        assert cards(found) == cards(written)


def test_arrays_quantities_and_bit_masks_of_nddata_are_kept(tmp_path):
    def there_and_back(value):
        path = tmp_path / "x.fits"
        path.unlink(missing_ok=True)
        IMAGE.write(value, str(path))
        return IMAGE.read(str(path), {})

    assert there_and_back(np.arange(4.0)).unit == u.dimensionless_unscaled
    assert there_and_back(np.ones((2, 3, 4), "f4")).shape == (2, 3, 4)
    assert there_and_back([1.0, 2.0] * u.Jy).unit == u.Jy
    masked = there_and_back(np.ma.masked_array([1.0, 2.0], [True, False]))
    assert masked.mask.tolist() == [True, False]
    bits = there_and_back(NDData(np.zeros((2, 2)), mask=np.array([[0, 1], [2, 4]], "i4"), unit="adu"))
    assert bits.flags.tolist() == [[0, 1], [2, 4]]
    assert bits.flags.dtype == np.int32
    assert bits.mask.tolist() == [[False, True], [True, True]]


def test_a_cutout_moves_all_planes_and_the_wcs_along(tmp_path):
    path = str(tmp_path / "x.fits")
    whole = full()
    IMAGE.write(whole, path)
    part = IMAGE.read(path, {"cutout": (2, 10, 3, 9)})
    assert np.array_equal(part.data, whole.data[2:10, 3:9])
    assert np.array_equal(part.mask, whole.mask[2:10, 3:9])
    assert np.array_equal(part.flags, whole.flags[2:10, 3:9])
    assert part.uncertainty.array.shape == (8, 6)
    assert np.allclose(
        part.wcs.all_pix2world([[0, 0]], 0), whole.wcs.all_pix2world([[3, 2]], 0), rtol=0, atol=1e-12
    )
    for bad in ((0, 31, 0, 5), (5, 5, 0, 5), (-1, 5, 0, 5), (1, 2), "all"):
        with pytest.raises(StorageError, match="cutout"):
            IMAGE.read(path, {"cutout": bad})


def test_a_wcs_that_the_header_has_anyway_leaves_the_header_as_it_is(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        h = sip_wcs().to_header(relax=True)
        h["CRVAL1"] = (31.5, "as the telescope had it")
        made = image(wcs=WCS(h), meta=h.copy())
    path = str(tmp_path / "x.fits")
    IMAGE.write(made, path)
    found = IMAGE.read(path, {})
    assert cards(found) == cards(made)
    assert found.wcs.wcs.crval[0] == 31.5
    # With another WCS, what the header says of it gives way.
    made.wcs = sip_wcs()
    Path(path).unlink()
    IMAGE.write(made, path)
    assert fits.getheader(path)["CRVAL1"] == pytest.approx(31.123456789012345, abs=1e-13)
    assert IMAGE.read(path, {}).wcs.wcs.crval[0] == pytest.approx(31.123456789012345, abs=1e-13)
    made.wcs = None
    Path(path).unlink()
    IMAGE.write(made, path)
    assert IMAGE.read(path, {}).wcs is None


def test_other_programs_find_unit_and_wcs(tmp_path):
    path = str(tmp_path / "x.fits")
    IMAGE.write(full(), path)
    with fits.open(path) as hdus:
        assert [h.name for h in hdus] == ["PRIMARY", "MASK", "VARIANCE", "FLAGS"]
        assert hdus[0].header["BUNIT"] == "adu"
        assert np.allclose(
            WCS(hdus[0].header).all_pix2world([[5, 5]], 0), sip_wcs().all_pix2world([[5, 5]], 0)
        )


def test_what_cannot_stand_in_a_header_is_named(tmp_path):
    path = str(tmp_path / "x.fits")
    for key, value in {"A": float("nan"), "B": object(), "C": [1, 2]}.items():
        with pytest.raises(StorageError, match=f"'{key}' is"):
            IMAGE.write(CCDData(np.ones((2, 2)), unit="adu", meta={key: value}), path)
    IMAGE.write(
        CCDData(
            np.ones((2, 2)), unit="adu", meta={"a long key of mine": np.float32(0.5), "HISTORY": ["x", "y"]}
        ),
        path,
    )
    found = IMAGE.read(path, {}).header
    assert found["a long key of mine"] == 0.5
    assert list(found["HISTORY"]) == ["x", "y"]
    with pytest.raises(StorageError, match="uncertainties as variance"):
        IMAGE.write(image(uncertainty=UnknownUncertainty(np.ones((30, 20)))), path)


def test_files_of_others_are_read_with_their_whole_header(tmp_path):
    path = str(tmp_path / "x.fits")
    second = fits.ImageHDU(np.arange(6, dtype="i2").reshape(2, 3), header(), name="SCI")
    second.header["BUNIT"] = "Electrons"
    fits.HDUList([fits.PrimaryHDU(), second, fits.ImageHDU(np.ones(3), name="OTHER")]).writeto(path)
    found = IMAGE.read(path, {})
    assert found.data.dtype == np.int16
    assert found.unit == u.electron
    assert found.header["ESO DET long name"] == 3.25
    assert IMAGE.read(path, {"hdu": "OTHER"}).shape == IMAGE.read(path, {"hdu": 2}).shape == (3,)
    assert IMAGE.read(path, {"hdu": "OTHER"}).unit == u.adu
    with pytest.raises(StorageError, match="no HDU 'SCJ'.*did you mean 'SCI'.*1 'SCI'"):
        IMAGE.read(path, {"hdu": "SCJ"})
    with pytest.raises(StorageError, match="is no image"):
        IMAGE.read(path, {"hdu": 0})


def hdu_list():
    return fits.HDUList(
        [fits.PrimaryHDU(header=header()),
         fits.ImageHDU(np.arange(900, dtype="u2").reshape(30, 30), name="AMP1"),
         fits.BinTableHDU.from_columns([fits.Column("x", "D", array=np.arange(3.0))], name="T")]
    )  # fmt: skip


class TestFitsHdus(FormatContract):
    format = HDUS
    values = (hdu_list,)
    refused = (np.ones(3), [1])

    def same(self, a, b):
        return fits.FITSDiff(a, b, ignore_keywords=["EXTEND", "BZERO", "BSCALE"]).identical

    def test_one_hdu_is_read_by_name(self, tmp_path):
        path = str(tmp_path / "x.fits")
        HDUS.write(hdu_list(), path)
        (found,) = HDUS.read(path, {"hdu": "AMP1"})
        assert found.data[1, 0] == 30
        HDUS.write(hdu_list()["AMP1"], str(tmp_path / "y.fits"))
        assert [h.name for h in HDUS.read(str(tmp_path / "y.fits"), {})] == ["PRIMARY", "AMP1"]


# -- real frames ------------------------------------------------------------------------------------


def frames(folder):
    return sorted(
        p for part in ("isr", "coadd") for p in (folder / part).rglob("*.f*") if ".fit" in p.name.lower()
    )


def test_real_frames_keep_every_pixel_and_card(shared_data, tmp_path):
    files = frames(shared_data)
    assert len(files) > 30
    for path in files:
        with fits.open(path, ignore_missing_simple=False) as hdus:
            if not any(getattr(h, "is_image", False) and h.shape for h in hdus):
                continue
        first = IMAGE.read(str(path), {})
        copy = tmp_path / "copy.fits"
        copy.unlink(missing_ok=True)
        IMAGE.write(first, str(copy))
        second = IMAGE.read(str(copy), {})
        assert first.data.dtype == second.data.dtype, path
        assert np.array_equal(first.data, second.data, equal_nan=first.data.dtype.kind == "f"), path
        assert cards(first) == cards(second), path
        assert first.unit == second.unit, path
        assert (first.wcs is None) == (second.wcs is None), path


@pytest.mark.parametrize("name", ["header_with_time_wcslib71.fits", "memtest.fits"])
def test_bad_files_are_refused_by_name(shared_data, name):
    with pytest.raises(StorageError, match=name):
        IMAGE.read(str(shared_data / "bad_inputs" / name), {})


def test_truncated_copies_of_real_frames_are_refused_by_name(shared_data, tmp_path):
    path = frames(shared_data)[0]
    data = path.read_bytes()
    for part in (0, 100, 2880, len(data) // 2, len(data) - 3000):
        cut = tmp_path / f"cut_{part}{path.suffix}"
        cut.write_bytes(data[:part])
        with pytest.raises(StorageError, match=cut.name):
            IMAGE.read(str(cut), {})


def test_a_damaged_plate_solution_does_not_take_the_process_down(shared_data, tmp_path):
    path = str(shared_data / "bad_inputs" / "dss.14.29.56-62.41.05.fits.gz")
    first = IMAGE.read(path, {})
    IMAGE.write(first, str(tmp_path / "x.fits"))
    assert cards(IMAGE.read(str(tmp_path / "x.fits"), {})) == cards(first)

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import InverseVariance, StdDevUncertainty, VarianceUncertainty

from supertask.errors import StorageError
from supertask.formats.find import find_format
from supertask.testing.formats import FormatContract

specutils = pytest.importorskip("specutils", reason="needs the extra 'examples'")

SPECTRUM = find_format("spectrum")
FLUX = u.Unit("1e-17 erg / (Angstrom s cm2)")


def header():
    made = fits.Header()
    made["OBJID"] = ("2M0", "who")
    made["SNR"] = 12.5
    made["SYNTHFIL"] = "/a/long/path" * 8
    made.add_comment("a comment")
    made.add_history("done")
    return made


def spectrum(shape=(50,), uncertainty=InverseVariance, dtype="f4", unit=FLUX, mask=True, **meta):
    rng = np.random.default_rng(1)
    flux = rng.normal(100, 1, shape).astype(dtype)
    flux[..., 3] = np.nan
    return specutils.Spectrum(
        flux=u.Quantity(flux, unit, dtype=None),
        spectral_axis=np.geomspace(15100, 17000, shape[-1]) * u.AA,
        spectral_axis_index=len(shape) - 1,
        uncertainty=None if uncertainty is None else uncertainty(rng.uniform(1, 2, shape)),
        mask=(flux > 100) if mask else None,
        meta=meta or {"header": header(), "rows": ["a", "b"], "labels": {"x": None}, "chip": np.arange(50)},
    )


class TestSpectrum(FormatContract):
    format = SPECTRUM
    values = (
        spectrum,
        lambda: spectrum((3, 50), VarianceUncertainty),
        lambda: spectrum((50, 50)),
        lambda: spectrum((50,), StdDevUncertainty, "f8", u.Jy),
        lambda: spectrum((2, 50), None, unit=u.dimensionless_unscaled, mask=False, note="nothing"),
    )
    refused = (np.ones(3), 1.0, {"flux": [1]})

    def same(self, a, b):
        if a.spectral_axis_index != b.spectral_axis_index:
            return False
        if a.flux.unit != b.flux.unit or a.flux.dtype != b.flux.dtype or type(a) is not type(b):
            return False
        pairs = [(a.flux.value, b.flux.value), (a.spectral_axis.value, b.spectral_axis.value)]
        if (a.mask is None) != (b.mask is None) or type(a.uncertainty) is not type(b.uncertainty):
            return False
        if a.mask is not None:
            pairs.append((a.mask, b.mask))
        if a.uncertainty is not None:
            pairs.append((a.uncertainty.array, b.uncertainty.array))
            if a.uncertainty.unit != b.uncertainty.unit:
                return False
        if not all(x.dtype == y.dtype and np.array_equal(x, y, equal_nan=True) for x, y in pairs):
            return False

        def plain(meta):
            return {
                k: repr(v) if isinstance(v, fits.Header) else v.tolist() if isinstance(v, np.ndarray) else v
                for k, v in meta.items()
            }

        return plain(a.meta) == plain(b.meta)


def test_what_meta_cannot_keep_is_said_by_name(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="in meta; 'thing' is builtins.object"):
        SPECTRUM.write(spectrum(thing=object()), str(tmp_path / "a.fits"))


def test_a_redshifted_axis_is_refused(tmp_path: Path) -> None:
    made = spectrum()
    moved = specutils.Spectrum(flux=made.flux, spectral_axis=u.Quantity(made.spectral_axis), redshift=0.1)
    with pytest.raises(StorageError, match="redshift"):
        SPECTRUM.write(moved, str(tmp_path / "a.fits"))


def ap_star(n_visits: int) -> fits.HDUList:
    n = 100
    rows = 1 if n_visits == 1 else n_visits + 2
    flux = np.full((rows, n), 10.0, "f4")
    error = np.full((rows, n), 2.0, "f4")
    flux[:, :5], error[:, :5] = 0.0, 1e10
    bits = np.zeros((rows, n), "i2")
    bits[:, 10], bits[:, 11], bits[:, 12] = 1 << 12, 1 << 8, 1
    axis = fits.Header({"CTYPE1": "LOG-LINEAR", "CRVAL1": 4.179, "CDELT1": 6e-6, "CRPIX1": 1})
    hdus = [fits.ImageHDU(a[0] if rows == 1 else a, header=axis) for a in (flux, error, bits, flux)]
    return fits.HDUList([fits.PrimaryHDU(header=fits.Header({"NVISITS": n_visits})), *hdus])


@pytest.mark.parametrize(("n_visits", "rows"), [(1, 1), (2, 4), (3, 5)])
def test_an_ap_star_has_rows_also_if_its_arrays_have_none(tmp_path: Path, n_visits: int, rows: int) -> None:
    path = str(tmp_path / "apStar.fits")
    ap_star(n_visits).writeto(path)
    found = SPECTRUM.read(path, {})
    assert found.flux.shape == (rows, 100)
    assert len(found.meta["rows"]) == rows
    assert found.meta["rows"][0] == "combined"
    assert np.allclose(found.spectral_axis.value[[0, 99]], 10 ** (4.179 + 6e-6 * np.array([0, 99])))
    ivar = found.uncertainty.array
    assert (ivar[:, :5] == 0).all(), "errors of 1e10 stand for no data"
    assert (ivar[:, 5:] == 0.25).all(), "what is flagged has data all the same"
    assert np.flatnonzero(found.mask[0]).tolist() == [0, 1, 2, 3, 4, 10, 12], "bit 8 is a warning"


def test_chips_of_an_ap_visit_are_joined_with_wavelengths_ascending(tmp_path: Path) -> None:
    n = 20
    red_to_blue = np.array(
        [np.linspace(hi, lo, n) for hi, lo in ((16950, 16470), (16430, 15860), (15810, 15140))]
    )
    flux = red_to_blue.astype("f4")
    axis = fits.Header({"CTYPE1": "Pixel", "CTYPE2": "Chip"})
    hdus = [
        fits.ImageHDU(a, header=axis)
        for a in (flux, np.ones((3, n), "f4"), np.zeros((3, n), "i2"), red_to_blue)
    ]
    path = str(tmp_path / "apVisit.fits")
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(path)
    found = SPECTRUM.read(path, {})
    assert found.meta["product"] == "apVisit"
    assert (np.diff(found.spectral_axis.value) > 0).all()
    assert np.allclose(found.flux.value, found.spectral_axis.value), "fluxes went with their wavelengths"
    assert found.meta["chip"].tolist() == [2] * n + [1] * n + [0] * n


def test_a_spec_keeps_its_inverse_variance_and_its_row_of_the_catalogue(tmp_path: Path) -> None:
    coadd = fits.BinTableHDU.from_columns(
        [
            fits.Column("flux", "E", array=[1.0, 2.0, 3.0]),
            fits.Column("loglam", "E", array=[3.5, 3.6, 3.7]),
            fits.Column("ivar", "E", array=[0.0, 4.0, -1.0]),
            fits.Column("and_mask", "J", array=[1, 0, 0]),
        ],
        name="COADD",
    )
    row = fits.BinTableHDU.from_columns(
        [fits.Column("CLASS", "6A", array=["QSO"]), fits.Column("Z", "E", array=[np.nan])], name="SPALL"
    )
    path = str(tmp_path / "spec.fits")
    fits.HDUList([fits.PrimaryHDU(), coadd, row, row.copy()]).writeto(path)
    found = SPECTRUM.read(path, {})
    assert found.uncertainty.array.tolist() == [0.0, 4.0, 0.0]
    assert found.mask.tolist() == [True, False, True]
    assert found.meta["bitmask"].tolist() == [1, 0, 0]
    assert found.meta["catalogue"] == {"CLASS": "QSO", "Z": None}


def test_an_image_is_no_spectrum(tmp_path: Path) -> None:
    path = str(tmp_path / "image.fits")
    fits.PrimaryHDU(np.ones((4, 4))).writeto(path)
    with pytest.raises(StorageError, match=r"image\.fits is no spectrum"):
        SPECTRUM.read(path, {})


def test_what_a_loader_of_specutils_understands_is_read_too(tmp_path: Path) -> None:
    path = str(tmp_path / "table.fits")
    made = spectrum((50,), StdDevUncertainty, "f8", mask=False, note="x")
    made.write(path, format="tabular-fits")
    found = SPECTRUM.read(path, {})
    assert np.array_equal(found.flux.value, made.flux.value, equal_nan=True)
    assert np.allclose(found.spectral_axis.to_value("Angstrom"), made.spectral_axis.value)

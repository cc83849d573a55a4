"""Spectra as SDSS writes them: apVisit, apStar and aspcapStar of APOGEE, spec of BOSS and its forerunners.

What a file is, is told by what is in it, not by its name. All have inverse variance, which is 0 where
there are no data; `mask` is True there and where the pipeline flagged a pixel bad; wavelengths are in
vacuum and ascend. `meta` has

- ``header``: the primary header;
- ``product``: ``apVisit``, ``apStar``, ``aspcapStar`` or ``spec``;
- ``bitmask``: the flags of each pixel (apVisit, apStar, spec);
- ``chip``: 0, 1 or 2 for each pixel, red to blue as in the file (apVisit);
- ``rows``: what each row is, ``combined`` (weighted pixel by pixel), ``combined by visit`` (one weight for
  each visit), ``visit 1`` and so on (apStar);
- ``model``: the best fit (aspcapStar, spec);
- ``labels``: PARAM and FPARAM, None where the pipeline set none (aspcapStar);
- ``catalogue``: numbers and words of the catalogue's row for this spectrum (spec).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from supertask.formats.fitsfiles import native

__all__ = ["APOGEE_BAD_BITS", "read_sdss"]

Array = npt.NDArray[Any]

APOGEE_BAD_BITS = 0x10FF
"""Bits 0 to 7 and 12 of APOGEE's pixel mask: bad, cosmic ray, saturated, unfixable, and the like."""
_NO_DATA = 1e9
"""APOGEE's pipeline writes errors of 1e10 where it has no data."""
_UNSET = -9998.0
"""Labels are -9999 where they are not set."""
_FLUX = "1e-17 erg / (Angstrom s cm2)"


def read_sdss(hdus: Any) -> Any:
    """Return the `specutils.Spectrum` of an open FITS file of SDSS; None if it is of no kind known here."""
    if len(hdus) < 4:
        return None
    if getattr(hdus[1], "columns", None) is not None:
        names = {n.lower() for n in hdus[1].columns.names}
        return _read_spec(hdus) if {"flux", "loglam", "ivar"} <= names else None
    shape = hdus[1].shape
    if not shape or any(h.shape != shape for h in hdus[1:4]):
        return None
    if hdus[1].header.get("CTYPE2") == "Chip" and len(hdus) > 4 and hdus[4].shape == shape:
        return _read_ap_visit(hdus)
    if hdus[1].header.get("CTYPE1") == "LOG-LINEAR" and "CRVAL1" in hdus[1].header:
        return _read_ap_star(hdus) if hdus[3].header["BITPIX"] > 0 else _read_aspcap_star(hdus)
    return None


def _spectrum(
    wavelength: Array, flux: Array, ivar: Array, mask: Array, product: str, hdus: Any, unit: str, **meta: Any
) -> Any:
    from astropy import units
    from astropy.nddata import InverseVariance
    from specutils import Spectrum

    return Spectrum(
        flux=units.Quantity(flux, unit),
        spectral_axis=units.Quantity(wavelength, "Angstrom"),
        spectral_axis_index=flux.ndim - 1,
        uncertainty=InverseVariance(ivar),
        mask=mask,
        meta={"header": hdus[0].header.copy(), "product": product, **meta},
    )


def _inverse_variance(flux: Array, error: Array) -> Array:
    """Return inverse variances, 0 where there are no data."""
    good = np.isfinite(flux) & np.isfinite(error) & (error > 0) & (error < _NO_DATA)
    ivar: Array = np.where(good, 1.0, 0.0) / np.where(good, error, 1.0).astype(float) ** 2
    return ivar


def _log_wavelength(header: Any, n: int) -> Array:
    pixel = np.arange(n) + 1.0 - float(header.get("CRPIX1", 1))
    wavelength: Array = 10.0 ** (float(header["CRVAL1"]) + float(header["CDELT1"]) * pixel)
    return wavelength


def _read_ap_visit(hdus: Any) -> Any:
    flux, error, bits, wavelength = (native(hdus[i].data) for i in range(1, 5))
    chip = np.broadcast_to(np.arange(len(flux), dtype=np.int16)[:, np.newaxis], flux.shape)
    # The red chip comes first, and each begins with its reddest pixel.
    order = np.argsort(wavelength, axis=None, kind="stable")
    flux, error, bits, wavelength, chip = (a.ravel()[order] for a in (flux, error, bits, wavelength, chip))
    ivar = _inverse_variance(flux, error)
    return _spectrum(
        wavelength,
        flux,
        ivar,
        (ivar == 0) | (bits & APOGEE_BAD_BITS != 0),
        "apVisit",
        hdus,
        _FLUX,
        bitmask=bits,
        chip=chip,
    )


def _read_ap_star(hdus: Any) -> Any:
    # With one visit there is one row, and the arrays have no second axis.
    flux, error, bits = (np.atleast_2d(native(hdus[i].data)) for i in range(1, 4))
    ivar = _inverse_variance(flux, error)
    # Where no visit has data, 0 was written.
    ivar[flux == 0] = 0.0
    rows = ["combined", "combined by visit", *(f"visit {i + 1}" for i in range(len(flux) - 2))]
    return _spectrum(
        _log_wavelength(hdus[1].header, flux.shape[1]),
        flux,
        ivar,
        (ivar == 0) | (bits & APOGEE_BAD_BITS != 0),
        "apStar",
        hdus,
        _FLUX,
        bitmask=bits,
        rows=rows[: len(flux)],
    )


def _read_aspcap_star(hdus: Any) -> Any:
    flux, error, model = (native(hdus[i].data) for i in range(1, 4))
    ivar = _inverse_variance(flux, error)
    ivar[flux == 0] = 0.0
    labels = {}
    if len(hdus) > 4 and getattr(hdus[4], "columns", None) is not None:
        table = hdus[4].data
        for name in ("PARAM", "FPARAM"):
            if name in table.names:
                values = np.ravel(table[name][0]).tolist()
                labels[name] = [v if np.isfinite(v) and v > _UNSET else None for v in values]
    return _spectrum(
        _log_wavelength(hdus[1].header, flux.shape[-1]),
        flux,
        ivar,
        ivar == 0,
        "aspcapStar",
        hdus,
        "",
        model=model,
        labels=labels,
    )


def _read_spec(hdus: Any) -> Any:
    table = hdus[1].data
    columns = {name.lower(): name for name in table.names}
    flux, ivar = (native(table[columns[name]]) for name in ("flux", "ivar"))
    wavelength = 10.0 ** native(table[columns["loglam"]]).astype(float)
    ivar = np.where(np.isfinite(flux) & np.isfinite(ivar) & (ivar > 0), ivar, 0.0)
    meta: dict[str, Any] = {}
    if "and_mask" in columns:
        meta["bitmask"] = native(table[columns["and_mask"]])
    if "model" in columns:
        meta["model"] = native(table[columns["model"]])
    catalogue = _first_row(hdus[2])
    return _spectrum(wavelength, flux, ivar, ivar == 0, "spec", hdus, _FLUX, **meta, catalogue=catalogue)


def _first_row(hdu: Any) -> dict[str, Any]:
    """Return the numbers and words of a table's first row."""
    if getattr(hdu, "columns", None) is None or not len(hdu.data):
        return {}
    row = hdu.data[0]
    found = {}
    for name in hdu.columns.names:
        value = row[name]
        value = value.item() if isinstance(value, np.generic) else value
        if isinstance(value, float) and not np.isfinite(value):
            value = None
        if isinstance(value, str | int | float | None):
            found[name] = value.strip() if isinstance(value, str) else value
    return found

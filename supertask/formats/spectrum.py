"""Spectra with their uncertainty, mask and what is said of them, as `specutils.Spectrum`."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from supertask.errors import StorageError
from supertask.formats.fitsfiles import find_hdu, native, open_fits, write_fits
from supertask.formats.port import StorageFormat
from supertask.formats.sdss import read_sdss

__all__ = ["SpectrumFits"]

_VERSION = "ST_SPEC"
"""Card that says: written here, in this version of the layout."""
_AXIS = "ST_AXIS"
_UNIT = "ST_UNIT"
_BOOL = "ST_BOOL"
"""Card of planes that are bool and stored as bytes."""
_PLANE = "META_"
"""Begins the names of planes that hold arrays of `meta`."""
_UNCERTAINTIES = {"var": "VARIANCE", "std": "STDDEV", "ivar": "INVVAR"}
_DERIVED = ("original_wcs", "original_data")
"""What specutils puts into `meta` by itself, when it makes one spectrum of another."""


class SpectrumFits(StorageFormat):
    """One spectrum, or several on the same wavelengths: `specutils.Spectrum`.

    Of its `meta` are kept: numbers, text, lists and dicts; arrays; and a FITS header.

    Files from elsewhere are read too. SDSS's apVisit, apStar, aspcapStar and spec files are understood
    here (see `supertask.formats.sdss`); all others are left to the loaders of specutils.
    """

    name = "spectrum"
    extension = ".fits"

    def write(self, value: Any, path: str) -> None:
        """Write a spectrum."""
        from astropy.io import fits
        from specutils import Spectrum

        if not isinstance(value, Spectrum):
            raise StorageError(f"spectrum keeps a specutils.Spectrum, not {type(value).__qualname__}")
        if np.any(value.redshift.value != 0):
            raise StorageError("spectrum keeps wavelengths as observed: put the redshift into meta")
        primary = fits.PrimaryHDU()
        primary.header[_VERSION] = (1, "spectrum with planes, laid out by SuperTask")
        primary.header[_AXIS] = (int(value.spectral_axis_index), "axis of flux along wavelengths, from 0")
        hdus = [
            primary,
            _plane("FLUX", value.flux.value, value.flux.unit),
            _plane("SPECTRAL_AXIS", value.spectral_axis.value, value.spectral_axis.unit),
        ]
        if value.uncertainty is not None:
            kind = value.uncertainty.uncertainty_type
            if kind not in _UNCERTAINTIES:
                known = ", ".join(_UNCERTAINTIES)
                raise StorageError(f"spectrum keeps uncertainties of type {known}, not {kind!r}")
            hdus.append(_plane(_UNCERTAINTIES[kind], value.uncertainty.array, value.uncertainty.unit))
        if value.mask is not None:
            hdus.append(_plane("MASK", value.mask))
        plain, arrays = _split(value.meta)
        hdus += [_plane(f"{_PLANE}{i}", array) for i, array in enumerate(arrays.values())]
        text = json.dumps({"plain": plain, "arrays": list(arrays)}).encode()
        hdus.append(_plane("META", np.frombuffer(text, np.uint8)))
        write_fits(fits.HDUList(hdus), path)

    def read(self, path: str, parameters: Mapping[str, Any]) -> Any:
        """Read a spectrum."""
        with open_fits(path) as hdus:
            if _VERSION in hdus[0].header:
                return _read_own(hdus, path)
            found = read_sdss(hdus)
        return found if found is not None else _read_other(path)


def _split(meta: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what of `meta` is plain, and its arrays."""
    from astropy.io import fits

    plain: dict[str, Any] = {}
    arrays: dict[str, Any] = {}
    for key, value in meta.items():
        if key in _DERIVED:
            continue
        if not isinstance(key, str):
            raise StorageError(f"spectrum keeps meta with keys of type str, not {key!r}")
        if isinstance(value, fits.Header):
            plain[key] = {"header": _text(value)}
        elif isinstance(value, np.ndarray) and value.ndim:
            arrays[key] = value
        else:
            try:
                plain[key] = {"value": json.loads(json.dumps(value))}
            except (TypeError, ValueError):
                raise StorageError(
                    "spectrum keeps numbers, text, lists, dicts, arrays and FITS headers in meta; "
                    f"{key!r} is {type(value).__module__}.{type(value).__qualname__}"
                ) from None
    return plain, arrays


def _text(header: Any) -> str:
    from astropy.utils.exceptions import AstropyWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)  # cards against the standard stay as they are
        text: str = header.tostring(sep="\n", endcard=False, padding=False)
    return text


def _plane(name: str, array: Any, unit: Any = None) -> Any:
    from astropy.io import fits

    array = np.ascontiguousarray(array)
    kept = array.astype(np.uint8) if array.dtype == bool else array
    if kept.dtype.kind not in "iuf" or kept.dtype == np.float16:
        raise StorageError(f"spectrum keeps arrays of numbers; {name} is {array.dtype}")
    hdu = fits.ImageHDU(kept, name=name)
    if array.dtype == bool:
        hdu.header[_BOOL] = True
    if unit is not None:
        hdu.header[_UNIT] = unit.to_string()
    return hdu


def _array(hdu: Any) -> Any:
    data = native(hdu.data)
    return data.astype(bool) if hdu.header.get(_BOOL, False) else data


def _quantity(hdu: Any) -> Any:
    from astropy import units

    return units.Quantity(_array(hdu), units.Unit(hdu.header[_UNIT]), copy=False, dtype=None, subok=True)


def _read_own(hdus: Any, path: str) -> Any:
    from astropy import nddata, units
    from astropy.io import fits
    from specutils import Spectrum

    classes = {
        "VARIANCE": nddata.VarianceUncertainty,
        "STDDEV": nddata.StdDevUncertainty,
        "INVVAR": nddata.InverseVariance,
    }
    uncertainty = None
    for name in _UNCERTAINTIES.values():
        if name in hdus:
            uncertainty = classes[name](_array(hdus[name]), unit=units.Unit(hdus[name].header[_UNIT]))
    said = json.loads(_array(find_hdu(hdus, "META", path)).tobytes())
    meta: dict[str, Any] = {
        key: v["value"] if "value" in v else fits.Header.fromstring(v["header"], sep="\n")
        for key, v in said["plain"].items()
    }
    meta |= {key: _array(find_hdu(hdus, f"{_PLANE}{i}", path)) for i, key in enumerate(said["arrays"])}
    return Spectrum(
        flux=_quantity(find_hdu(hdus, "FLUX", path)),
        spectral_axis=_quantity(find_hdu(hdus, "SPECTRAL_AXIS", path)),
        spectral_axis_index=int(hdus[0].header[_AXIS]),
        uncertainty=uncertainty,
        mask=_array(hdus["MASK"]) if "MASK" in hdus else None,
        meta=meta,
    )


def _read_other(path: str) -> Any:
    from specutils import Spectrum

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # loaders that do not fit say so
            return Spectrum.read(path)
    except Exception as error:
        raise StorageError(
            f"{path} is no spectrum that SuperTask or a loader of specutils understands: {error}"
        ) from error

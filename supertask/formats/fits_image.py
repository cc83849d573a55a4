"""FITS images with their mask, uncertainty, WCS, unit and header, as `astropy.nddata.CCDData`."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from supertask.errors import StorageError
from supertask.formats.fitsfiles import STRUCTURE, find_hdu, native, open_fits, write_fits
from supertask.formats.port import StorageFormat

__all__ = ["FitsImage"]

_VERSION = "ST_IMAGE"
"""Card that says: written here, in this version of the layout."""
_N_WCS = "ST_NWCS"
"""Card before the WCS, with its number of cards; 0 if the header has it anyway, -1 if there is none."""
_UNIT = "ST_UNIT"
"""Card with the exact unit; BUNIT is for others, and stays as an instrument wrote it if it says the same."""
_BOOL = "ST_BOOL"
"""Card of planes that are bool and stored as bytes."""
_UNCERTAINTIES = {"var": "VARIANCE", "std": "STDDEV", "ivar": "INVVAR"}
_RECORDS = ("CQDIS", "CPDIS", "DQ1", "DQ2", "DP1", "DP2")
_LINEAR = ("CRPIX", "CDELT", "CRVAL")


class FitsImage(StorageFormat):
    """An image with its planes: `astropy.nddata.CCDData`.

    The image is the primary HDU; ``MASK``, ``VARIANCE`` (``STDDEV``, ``INVVAR``) and ``FLAGS`` are
    extensions. Masks of CCDData are bool; integers with a bit for each reason are its `flags`, and so is
    read an integer mask of an NDData, with a mask where it is not 0. Arrays and `Quantity` may be written
    too; CCDData is read. Of a file from elsewhere the first HDU with an image is read, with its whole
    header.

    Parameters for a partial read: ``cutout=(y0, y1, x0, x1)``, pixels from 0, the ends excluded, reads
    no more of the file than it must and moves the WCS along; ``hdu=`` names another HDU.
    """

    name = "fits_image"
    extension = ".fits"
    parameters = frozenset({"cutout", "hdu"})

    # -- writing --------------------------------------------------------------------------------

    def write(self, value: Any, path: str) -> None:
        """Write an image and its planes."""
        from astropy.io import fits

        data, unit, mask, uncertainty, wcs, meta = _parts(value)
        flags = getattr(value, "flags", None) if not isinstance(value, np.ndarray) else None
        if mask is not None and np.asarray(mask).dtype != bool and flags is None:
            mask, flags = np.asarray(mask) != 0, mask
        primary = fits.PrimaryHDU(_storable(data, "the image"))
        # (Given to the constructor, blank cards would be lost.)
        primary.header.extend(_header(meta, unit, wcs).cards, strip=False, useblanks=False, end=True)
        if data.dtype == bool:
            primary.header[_BOOL] = True
        hdus = fits.HDUList([primary])
        if mask is not None:
            hdus.append(_plane(np.broadcast_to(mask, data.shape), "MASK"))
        if uncertainty is not None:
            kind = uncertainty.uncertainty_type
            if kind not in _UNCERTAINTIES:
                raise StorageError(
                    f"fits_image keeps uncertainties as variance, standard deviation or inverse variance, "
                    f"not {kind!r}"
                )
            plane = _plane(np.broadcast_to(uncertainty.array, data.shape), _UNCERTAINTIES[kind])
            if uncertainty.unit is not None and not _follows(uncertainty, unit):
                plane.header["BUNIT"] = uncertainty.unit.to_string()
            hdus.append(plane)
        if flags is not None:
            if not isinstance(flags, np.ndarray):
                raise StorageError(
                    f"fits_image keeps flags that are one array, not {type(flags).__qualname__}"
                )
            hdus.append(_plane(flags, "FLAGS"))
        write_fits(hdus, path)

    # -- reading --------------------------------------------------------------------------------

    def read(self, path: str, parameters: Mapping[str, Any]) -> Any:
        """Read an image and its planes, or a part of it."""
        from astropy.nddata import CCDData

        with open_fits(path) as hdus:
            wanted = parameters.get("hdu")
            hdu = _first_image(hdus, path) if wanted is None else find_hdu(hdus, wanted, path)
            shape = getattr(hdu, "shape", None)
            if not getattr(hdu, "is_image", False) or not shape:
                raise StorageError(f"{path}: HDU {hdu.name!r} is no image")
            ours = all(card in hdu.header for card in (_VERSION, _UNIT, _N_WCS))
            cut = _cutout(parameters["cutout"], shape, path) if "cutout" in parameters else None
            header = hdu.header.copy()  # before astropy scales the data, which changes it
            data = _pixels(hdu, cut)
            if header.pop(_BOOL, False):
                data = data.astype(bool)
            mask = _read_plane(hdus, "MASK", cut) if ours else None
            flags = _read_plane(hdus, "FLAGS", cut) if ours else None
            uncertainty = _read_uncertainty(hdus, cut) if ours else None
            wcs = _read_wcs(header, shape, cut)
            unit = _read_unit(header)
        if ours:
            _strip(header)
        for card in STRUCTURE:
            header.remove(card, ignore_missing=True, remove_all=True)
        image = CCDData(data, unit=unit, mask=mask, uncertainty=uncertainty, wcs=wcs, meta=header)
        image.flags = flags
        return image


def _parts(value: Any) -> tuple[Any, Any, Any, Any, Any, Any]:
    """Return data, unit, mask, uncertainty, WCS and header of what may be written."""
    from astropy.nddata import NDData
    from astropy.units import Quantity

    if isinstance(value, NDData):
        data = np.asarray(value.data)
        return data, value.unit, value.mask, value.uncertainty, value.wcs, value.meta
    if isinstance(value, Quantity):
        return np.asarray(value.value), value.unit, None, None, None, {}
    if isinstance(value, np.ma.MaskedArray):
        mask = None if value.mask is np.ma.nomask else value.mask
        return np.asarray(value.data), None, mask, None, None, {}
    if isinstance(value, np.ndarray):
        return value, None, None, None, None, {}
    raise StorageError(
        "fits_image keeps CCDData, NDData, Quantity and arrays, not "
        f"{type(value).__module__}.{type(value).__qualname__}"
    )


def _storable(array: Any, what: str) -> Any:
    array = np.asarray(array)
    if array.ndim < 1:
        raise StorageError(f"fits_image keeps arrays of one dimension or more; {what} has none")
    if array.dtype == bool:
        return array.astype(np.uint8)
    if array.dtype.kind not in "iuf" or array.dtype.itemsize not in (1, 2, 4, 8) or array.dtype == np.float16:
        raise StorageError(
            f"FITS keeps integers and floats of 32 and 64 bits; {what} is {array.dtype}: convert it first"
        )
    return array


def _plane(array: Any, name: str) -> Any:
    from astropy.io import fits

    hdu = fits.ImageHDU(_storable(np.ascontiguousarray(array), f"plane {name}"), name=name)
    if array.dtype == bool:
        hdu.header[_BOOL] = True
    return hdu


def _follows(uncertainty: Any, unit: Any) -> bool:
    """Tell whether an uncertainty's unit is what it would be anyway."""
    from astropy import units

    base = unit if unit is not None else units.dimensionless_unscaled
    power = {"var": 2, "std": 1, "ivar": -2}[uncertainty.uncertainty_type]
    return bool(uncertainty.unit == base**power)


def _header(meta: Any, unit: Any, wcs: Any) -> Any:
    from astropy.io import fits

    header = fits.Header()
    if isinstance(meta, fits.Header):
        header.extend(
            [card for card in meta.cards if card.keyword not in STRUCTURE],
            strip=False,
            useblanks=False,
            end=True,
        )
    else:
        for key, value in (meta or {}).items():
            _set_card(header, str(key), value)
    for key in (_VERSION, _N_WCS, _UNIT, _BOOL):
        header.remove(key, ignore_missing=True, remove_all=True)
    text = "" if unit is None else _unit_text(unit)
    in_header = wcs is not None and _same_wcs(wcs, _make_wcs(header))
    cards = _wcs_cards(wcs, header) if wcs is not None and not in_header else []
    made: list[Any] = [(_VERSION, 1, "image with planes, laid out by SuperTask")]
    if "BUNIT" not in header:
        made.append(("BUNIT", text))
    elif _read_unit(header) != unit:
        header["BUNIT"] = text
    made += [
        (_UNIT, text),
        (_N_WCS, len(cards) if wcs is not None else -1, "cards of the WCS follow"),
        *cards,
    ]
    for card in made:
        header.append(card, useblanks=False, end=True)
    return header


def _set_card(header: Any, key: str, value: Any) -> None:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, list | tuple) and key.upper() in ("COMMENT", "HISTORY", ""):
        for line in value:
            header.add_comment(str(line)) if key.upper() == "COMMENT" else header.add_history(str(line))
        return
    bad = isinstance(value, float) and not math.isfinite(value)
    if bad or not isinstance(value, str | bool | int | float | complex | type(None)):
        raise StorageError(f"a FITS header keeps finite numbers, text and bool; {key!r} is {value!r}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # long keys become HIERARCH cards
            header[key] = value
    except ValueError as error:
        raise StorageError(f"header card {key!r}: {error}") from None


def _unit_text(unit: Any) -> str:
    try:
        text: str = unit.to_string(format="fits")
    except ValueError:
        text = unit.to_string()
    return text


def _read_unit(header: Any) -> Any:
    from astropy import units

    if _UNIT in header:
        return units.Unit(header[_UNIT])
    text = header.get("BUNIT")
    if not isinstance(text, str) or not text.strip():
        # What a detector counts, where its file does not say.
        return units.adu
    # Instruments write 'ADU', 'COUNTS', 'Electrons'.
    for spelling in (text, text.strip().lower(), text.strip().lower().rstrip("s")):
        unit = units.Unit(spelling, parse_strict="silent")
        if not isinstance(unit, units.UnrecognizedUnit):
            return unit
    return units.dimensionless_unscaled


def _make_wcs(header: Any) -> Any:
    """Return the WCS of a header, or None if it has none that can be understood."""
    if not any(f"CTYPE{i}" in header for i in range(1, 4)):
        return None
    if any(card.keyword.startswith(_RECORDS) for card in header.cards):
        # Reading these back corrupts memory in wcslib (seen in 8.4 with what it writes itself).
        return None
    from astropy.wcs import WCS

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return WCS(header)
    except Exception:  # noqa: BLE001 - an instrument's odd WCS does not make its pixels unreadable
        return None


def _same_wcs(a: Any, b: Any) -> bool:
    if b is None or not hasattr(a, "wcs") or a.naxis != b.naxis or (a.sip is None) != (b.sip is None):
        return False
    if a.sip is not None:
        for name in ("a", "b", "ap", "bp", "crpix"):
            if not np.array_equal(getattr(a.sip, name), getattr(b.sip, name)):
                return False
    return bool(a.wcs.compare(b.wcs))


def _wcs_cards(wcs: Any, header: Any) -> list[Any]:
    """Return the cards of a WCS to double precision, and take those of the header that say the same away."""
    if not hasattr(wcs, "to_header") or not hasattr(wcs, "wcs"):
        raise StorageError(
            f"fits_image keeps a FITS WCS (astropy.wcs.WCS), not a {type(wcs).__module__}."
            f"{type(wcs).__qualname__}; make an approximation with to_fits_sip()"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = wcs.to_header(relax=True)
    tables = (wcs.cpdis1, wcs.cpdis2, wcs.det2im1, wcs.det2im2)
    if any(table is not None for table in tables) or any(k.startswith(_RECORDS) for k in made):
        raise StorageError(
            "fits_image keeps distortions that stand in header cards (SIP, TPV), not tables or record-valued "
            "cards; make an approximation with astropy.wcs.utils.fit_wcs_from_points(sip_degree=…)"
        )
    # to_header rounds to some twelve digits; the numbers themselves are kept here.
    inner = wcs.wcs
    pc, cdelt = inner.get_pc(), inner.get_cdelt()
    for i in range(wcs.naxis):
        exact = dict(zip(_LINEAR, (inner.crpix[i], cdelt[i], inner.crval[i]), strict=True))
        for key, number in exact.items():
            made[f"{key}{i + 1}"] = float(number)
        for j in range(wcs.naxis):
            if pc[i, j] != (i == j):
                made[f"PC{i + 1}_{j + 1}"] = float(pc[i, j])
    for keyword in [card.keyword for card in made.cards]:
        # An instrument's date stays where it is, if it says what the WCS says.
        if keyword not in _LINEAR and keyword in header and header[keyword] == made[keyword]:
            made.remove(keyword)
        else:
            header.remove(keyword, ignore_missing=True, remove_all=True)
    for i in range(1, wcs.naxis + 1):
        for j in range(1, wcs.naxis + 1):
            header.remove(f"CD{i}_{j}", ignore_missing=True)
            header.remove(f"PC{i}_{j}", ignore_missing=True)
    return list(made.cards)


def _strip(header: Any) -> None:
    """Take away the cards that were added when the image was written."""
    at = header.index(_N_WCS)
    for _ in range(max(int(header[_N_WCS]), 0) + 1):
        if at < len(header):
            del header[at]
    after = header.index(_VERSION) + 1
    if header.cards[after].keyword == "BUNIT":
        del header[after]
    for key in (_VERSION, _UNIT):
        header.remove(key, ignore_missing=True)


def _read_wcs(header: Any, shape: tuple[int, ...], cut: tuple[slice, ...] | None) -> Any:
    if int(header.get(_N_WCS, 0)) < 0:
        return None
    wcs = _make_wcs(header)
    if wcs is None or wcs.naxis != len(shape):
        return None
    return wcs if cut is None else wcs.slice(cut, numpy_order=True)


def _first_image(hdus: Any, path: str) -> Any:
    for hdu in hdus:
        if getattr(hdu, "is_image", False) and getattr(hdu, "shape", None):
            return hdu
    raise StorageError(f"{path} has no HDU with an image")


def _cutout(cutout: Any, shape: tuple[int, ...], path: str) -> tuple[slice, ...]:
    try:
        y0, y1, x0, x1 = (int(v) for v in cutout)
    except (TypeError, ValueError):
        raise StorageError(f"cutout must be (y0, y1, x0, x1), pixels from 0; got {cutout!r}") from None
    height, width = shape[-2:] if len(shape) > 1 else (1, shape[0])
    if len(shape) != 2 or not (0 <= y0 < y1 <= height and 0 <= x0 < x1 <= width):
        raise StorageError(
            f"{path}: cutout {(y0, y1, x0, x1)} is not within its {' x '.join(map(str, shape))} pixels"
        )
    return (slice(y0, y1), slice(x0, x1))


def _pixels(hdu: Any, cut: tuple[slice, ...] | None) -> Any:
    return native(hdu.data if cut is None else hdu.section[cut])


def _read_plane(hdus: Any, name: str, cut: tuple[slice, ...] | None) -> Any:
    if name not in hdus:
        return None
    hdu = hdus[name]
    data = _pixels(hdu, cut)
    return data.astype(bool) if hdu.header.get(_BOOL, False) else data


def _read_uncertainty(hdus: Any, cut: tuple[slice, ...] | None) -> Any:
    from astropy import nddata, units

    classes = {
        "VARIANCE": nddata.VarianceUncertainty,
        "STDDEV": nddata.StdDevUncertainty,
        "INVVAR": nddata.InverseVariance,
    }
    for name, cls in classes.items():
        array = _read_plane(hdus, name, cut)
        if array is not None:
            text = hdus[name].header.get("BUNIT")
            return cls(array, unit=None if text is None else units.Unit(text))
    return None

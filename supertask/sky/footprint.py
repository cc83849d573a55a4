"""Footprints: the outline of a detector on the sky, as a polygon of positions."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from supertask.errors import SuperTaskError

__all__ = ["FootprintError", "footprint", "footprint_of_file", "footprint_of_header"]

_CELESTIAL = re.compile(r"RA--|DEC-|[A-Z]?LON|[A-Z]?LAT|[A-Z]{2}LN|[A-Z]{2}LT")

_OF_WCS = re.compile(
    r"WCS|CTYPE|CUNIT|CRVAL|CRPIX|CDELT|CROTA|CD[0-9]|PC[0-9]|PV[0-9]|PS[0-9]|(A|B|AP|BP)_|LONPOLE|LATPOLE|"
    r"RADE|EQUINOX|EPOCH|NAXIS|CPDIS|DP[0-9]|DQ[0-9]|D2IM"
)


class FootprintError(SuperTaskError):
    """A WCS or polygon gives no outline on the sky."""


def footprint(wcs: Any, shape: Sequence[int], *, points_per_edge: int = 2) -> npt.NDArray[np.float64]:
    """Return the outline of an image on the sky.

    Parameters
    ----------
    wcs : astropy.wcs.WCS
        Celestial, two axes.
    shape : sequence of int
        Of the image, (…, rows, columns).
    points_per_edge : int, optional
        Positions for each edge, its first corner among them: more follow a distorted edge better.

    Returns
    -------
    numpy.ndarray
        Shape (4 * points_per_edge, 2): ra (0 to 360) and dec, degrees ICRS, around the outer edges
        of the outermost pixels.

    Raises
    ------
    FootprintError
        The WCS is not celestial, gives no position for an edge, or no area.
    """
    if not wcs.has_celestial:
        raise FootprintError("the WCS is not one of the sky")
    rows, columns = shape[-2:]
    t = np.arange(points_per_edge) / points_per_edge
    left, right, bottom, top = -0.5, columns - 0.5, -0.5, rows - 0.5
    x = np.concatenate(
        [left + t * columns, np.full_like(t, right), right - t * columns, np.full_like(t, left)]
    )
    y = np.concatenate([np.full_like(t, bottom), bottom + t * rows, np.full_like(t, top), top - t * rows])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            celestial = wcs if wcs.naxis == 2 else wcs.celestial
            if _is_icrs(celestial):
                ra, dec = celestial.all_pix2world(x, y, 0)
            else:
                sky = celestial.pixel_to_world(x, y).icrs
                ra, dec = sky.ra.deg, sky.dec.deg
    except Exception as error:
        raise FootprintError(f"the WCS cannot be followed: {error}") from error
    outline = np.stack([np.asarray(ra, float) % 360.0, np.asarray(dec, float)], axis=1)
    if not np.isfinite(outline).all():
        raise FootprintError("the WCS gives no position for an edge of the image")
    if len(np.unique(outline.round(12), axis=0)) < 3:
        raise FootprintError("the WCS maps the whole image on one point or line")
    return outline


def _is_icrs(wcs: Any) -> bool:
    """Tell whether its own coordinates are ICRS, or FK5 of 2000, which is that within 0.03 arcsec."""
    system = (wcs.wcs.radesys or "").strip().upper()
    types = tuple(str(t)[:4] for t in wcs.wcs.ctype)
    if types != ("RA--", "DEC-"):
        return False
    equinox = wcs.wcs.equinox
    return system in ("", "ICRS", "FK5") and (np.isnan(equinox) or equinox == 2000.0)


def footprint_of_header(header: Any, shape: Sequence[int]) -> tuple[float, ...] | None:
    """Return the outline that a FITS header's WCS gives: ra and dec in turn, degrees.

    Returns
    -------
    tuple of float or None
        None if the header has no WCS of the sky.

    Raises
    ------
    FootprintError
        It has one, which gives no outline.
    """
    if not any(_CELESTIAL.match(str(header.get(f"CTYPE{i}", ""))) for i in (1, 2, 3)):
        return None
    from astropy.io.fits import Header
    from astropy.wcs import WCS

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # WCS parses all that it is given, and its own cards are few.
            wcs = WCS(Header([card for card in header.cards if _OF_WCS.match(card.keyword)]))
            if not wcs.has_celestial:
                return None
    except Exception as error:
        raise FootprintError(f"the WCS in the header is not valid: {error}") from error
    return tuple(footprint(wcs, shape).ravel().tolist())


def footprint_of_file(path: str, shape: Sequence[int]) -> tuple[float, ...]:
    """Return the outline that the WCS in another file gives: a FITS header, such as a plate solution.

    Raises
    ------
    FootprintError
        The file cannot be read, or has no WCS of the sky.
    """
    from astropy.io.fits import getheader

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            header = getheader(path)
    except Exception as error:
        raise FootprintError(f"{path} cannot be read: {error}") from error
    outline = footprint_of_header(header, shape)
    if outline is None:
        raise FootprintError(f"{path} has no WCS of the sky")
    return outline

"""Whole FITS files with all their HDUs, for raw data of instruments with several amplifiers or detectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from supertask.errors import StorageError
from supertask.formats.fitsfiles import find_hdu, open_fits, write_fits
from supertask.formats.port import StorageFormat

__all__ = ["FitsHdus"]


class FitsHdus(StorageFormat):
    """All HDUs of a file: `astropy.io.fits.HDUList`, in memory.

    Parameter ``hdu=`` (number or name) reads only that one, as an HDUList of a copy of it.
    """

    name = "fits_hdus"
    extension = ".fits"
    parameters = frozenset({"hdu"})

    def write(self, value: Any, path: str) -> None:
        """Write HDUs as they are; a single one is made a list."""
        from astropy.io import fits

        if isinstance(value, fits.PrimaryHDU):
            value = fits.HDUList([value])
        elif isinstance(value, fits.ImageHDU | fits.BinTableHDU | fits.TableHDU):
            value = fits.HDUList([fits.PrimaryHDU(), value])
        if not isinstance(value, fits.HDUList):
            raise StorageError(f"fits_hdus keeps an HDUList or an HDU, not {type(value).__qualname__}")
        write_fits(value, path)

    def read(self, path: str, parameters: Mapping[str, Any]) -> Any:
        """Read all HDUs, or one."""
        from astropy.io import fits

        with open_fits(path) as hdus:
            if "hdu" in parameters:
                hdu = find_hdu(hdus, parameters["hdu"], path)
                return fits.HDUList([hdu.copy()])
            return fits.HDUList([hdu.copy() for hdu in hdus])

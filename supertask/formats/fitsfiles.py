"""What the FITS formats share: opening files so that what is wrong with them is said, and HDUs by name."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from supertask.errors import StorageError, did_you_mean

__all__ = ["STRUCTURE", "find_hdu", "native", "open_fits", "write_fits"]

STRUCTURE = frozenset(
    (
        *("SIMPLE", "XTENSION", "BITPIX", "NAXIS", *(f"NAXIS{i}" for i in range(1, 10)), "EXTEND", "END"),
        *("PCOUNT", "GCOUNT", "GROUPS", "BSCALE", "BZERO", "BLANK"),
        *("CHECKSUM", "DATASUM", "ZIMAGE", "ZCMPTYPE"),
    )
)
"""Cards that describe the file rather than what is in it; a writer makes its own."""


@contextmanager
def open_fits(path: str) -> Iterator[Any]:
    """Open a FITS file for reading, as an `astropy.io.fits.HDUList`.

    Raises
    ------
    StorageError
        It is not FITS, or is damaged or truncated.
    """
    from astropy.io import fits
    from astropy.utils.exceptions import AstropyWarning

    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always", AstropyWarning)
            # Scaled integers cannot be mapped, and mapped files would be kept open by their data.
            with fits.open(path, memmap=False) as hdus:
                len(hdus)  # reads all headers, and so finds out
                # A truncated file is told by a warning only; all others are about style.
                truncated = [w for w in said if "truncated" in str(w.message)]
                if truncated:
                    raise StorageError(f"{path} is truncated: {truncated[0].message}")
                yield hdus
    except FileNotFoundError:
        raise
    except (fits.VerifyError, ValueError, TypeError, KeyError, IndexError) as error:
        raise StorageError(f"{path} is not valid FITS: {error}") from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise StorageError(f"{path} is not FITS, or is damaged: {error}") from error


def find_hdu(hdus: Any, wanted: Any, path: str) -> Any:
    """Return one HDU by number or name.

    Raises
    ------
    StorageError
        There is none.
    """
    names = [h.name for h in hdus]
    try:
        if isinstance(wanted, str | tuple) or (isinstance(wanted, int) and not isinstance(wanted, bool)):
            return hdus[wanted]
    except (KeyError, IndexError):
        pass
    near = did_you_mean(wanted.upper(), names) if isinstance(wanted, str) else ""
    listing = ", ".join(f"{i} {name!r}" for i, name in enumerate(names))
    raise StorageError(f"{path} has no HDU {wanted!r}{near}; it has {listing}")


def native(array: Any) -> Any:
    """Return an array in this machine's byte order, its own memory."""
    import numpy as np

    return np.array(array, dtype=array.dtype.newbyteorder("="))


def write_fits(hdus: Any, path: str) -> None:
    """Write HDUs to a new file. Cards that an instrument wrote against the standard are kept as they are."""
    from astropy.utils.exceptions import AstropyWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)
        hdus.writeto(path, output_verify="silentfix+ignore")

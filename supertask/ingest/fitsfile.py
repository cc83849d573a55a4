"""One FITS file as ingest sees it: whole and sound, or refused with the true reason.

The structure is walked here, byte by byte as the FITS standard 4.0 lays it down, rather than left to
a reader that mends what it can: what is mended silently at ingest fails at night in a pipeline.
Values of cards are astropy's to parse.
"""

from __future__ import annotations

import fnmatch
import gzip
import hashlib
import mmap
import os
import re
import stat
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from supertask.errors import IngestError

__all__ = ["FitsFile", "Hdu", "read_fits"]

_BLOCK = 2880
_CARD = 80
_MAP_ABOVE = 1 << 28
_MOST_HDUS = 100_000
_DTYPES = {8: "u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_INTEGER = re.compile(rb"\s*([+-]?[0-9]+)\s*(/.*)?\Z", re.DOTALL)
_PLAIN = re.compile(rb" *('[^']*'|[TF]|[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([EeDd][+-]?[0-9]+)?)? *(/[ -~]*)?\Z")
_CONTROL_NAMES = {0: "a NUL", 9: "a tab", 10: "a newline", 13: "a carriage return"}


@attrs.frozen(eq=False)
class Hdu:
    """One header-data unit."""

    index: int
    """From 0."""
    header: Any
    """An ``astropy.io.fits.Header``."""
    shape: tuple[int, ...]
    """Of an image, rows first; empty if it has no data or is a table."""

    @property
    def name(self) -> str:
        """EXTNAME, or an empty string."""
        return str(self.header.get("EXTNAME", "")).strip()


@attrs.frozen(eq=False)
class FitsFile:
    """A sound FITS file: what a translator sees."""

    path: str
    size: int
    checksum: str
    """``blake2b:`` and 32 hexadecimal digits, of the file's bytes as they lie on the disk."""
    hdus: tuple[Hdu, ...]

    @property
    def images(self) -> tuple[Hdu, ...]:
        """HDUs that hold an image, compressed ones among them."""
        return tuple(h for h in self.hdus if h.shape)


@attrs.frozen(eq=False)
class _Span:
    """Where the parts of an HDU lie, and the cards that its layout hangs on."""

    index: int
    start: int
    data: int
    end: int
    header: bytes
    numbers: dict[str, int]
    axes: tuple[int, ...]

    @property
    def is_image(self) -> bool:
        return self.index == 0 or self.header.startswith(b"XTENSION= 'IMAGE ")


def read_fits(path: str, *, ignore_cards: Sequence[str] = ()) -> FitsFile:
    """Read the headers of a FITS file and prove it sound.

    Parameters
    ----------
    path : str
        The file; gzip is told by its content.
    ignore_cards : sequence of str, optional
        Shell patterns of cards that may be invalid. With ``DATASUM`` and ``CHECKSUM`` among them
        these are not checked: some software copies them along to data that they do not fit.

    Raises
    ------
    IngestError
        The file cannot be opened, is empty, no FITS, truncated, altered (CHECKSUM, DATASUM), has
        cards that are not of the standard, or only pixels without value. States every reason found.
    """
    raw = _bytes_of(path)
    digest = hashlib.blake2b(raw, digest_size=16).hexdigest()
    data = _unzip(raw) if bytes(raw[:2]) == b"\x1f\x8b" else raw
    spans = _walk(data)
    with warnings.catch_warnings():
        # What astropy warns of is either refused below or, as with non-ASCII comments, of no matter.
        warnings.simplefilter("ignore")
        problems: list[str] = []
        hdus = []
        if spans[0].header[10:_CARD].split(b"/")[0].strip() != b"T":
            problems.append("HDU 0: the card SIMPLE says itself that this is not of the FITS standard")
        for span in spans:
            where = f"HDU {span.index}"
            problems += (f"{where}: {p}" for p in _altered(span, data, ignore_cards))
            header, invalid = _header(span, ignore_cards)
            problems += (f"{where}: {p}" for p in invalid)
            hdus.append(Hdu(span.index, header, _image_shape(span, header)))
        if not problems:
            problems += _without_values(spans, hdus, data)
    if problems:
        shown = "; ".join(problems[:5])
        raise IngestError(shown + (f"; and {len(problems) - 5} more" if len(problems) > 5 else ""))
    return FitsFile(path, len(raw), f"blake2b:{digest}", tuple(hdus))


def _bytes_of(path: str) -> Any:
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise IngestError("this is a folder, not a file")
        if not stat.S_ISREG(status.st_mode):
            raise IngestError("this is not a regular file")
        if status.st_size == 0:
            raise IngestError("the file is empty")
        if status.st_size <= _MAP_ABOVE:
            return Path(path).read_bytes()
        with open(path, "rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError:
        if os.path.islink(path):
            raise IngestError(f"this is a link to {os.readlink(path)}, which is not there") from None
        raise IngestError("there is no such file") from None
    except OSError as error:
        raise IngestError(f"it cannot be read: {error.strerror or error}") from None


def _unzip(raw: Any) -> bytes:
    try:
        return gzip.decompress(raw)
    except EOFError:
        raise IngestError("truncated: the gzip data ends before its end mark") from None
    except (OSError, zlib.error) as error:
        raise IngestError(f"the gzip data is damaged: {error}") from None


def _walk(data: Any) -> list[_Span]:
    """Return all HDUs, or say where the structure breaks."""
    total = len(data)
    if bytes(data[:9]) != b"SIMPLE  =":
        raise IngestError(f"not a FITS file: it begins with {bytes(data[:16])!r} instead of SIMPLE")
    spans: list[_Span] = []
    at = 0
    while at < total:
        rest = bytes(data[at : at + _BLOCK])
        if at and not rest.startswith(b"XTENSION"):
            where = f"{total - at:,} bytes after HDU {len(spans) - 1}"
            if rest.strip(b"\0 "):
                raise IngestError(f"{where} are no HDU: they begin with {rest[:16]!r}")
            if len(rest) < _BLOCK:
                raise IngestError(
                    f"truncated: {where} are no whole block of {_BLOCK}: the file has {total:,} bytes, "
                    f"and should have {at + _BLOCK:,}"
                )
            break
        spans.append(_span(data, at, len(spans)))
        at = spans[-1].end
        if len(spans) > _MOST_HDUS:
            raise IngestError(f"more than {_MOST_HDUS:,} HDUs")
    return spans


def _span(data: Any, start: int, index: int) -> _Span:
    total = len(data)
    numbers: dict[str, int] = {}
    wrong: list[str] = []
    at, ended = start, False
    while not ended:
        block = bytes(data[at : at + _BLOCK])
        if len(block) < _BLOCK:
            raise IngestError(
                f"truncated: the file ends at byte {total:,}, inside the header of HDU {index}, before an "
                f"END card and the end of its block of {_BLOCK} bytes"
            )
        for offset in range(0, _BLOCK, _CARD):
            card = block[offset : offset + _CARD]
            keyword = card[:8].rstrip()
            if keyword == b"END" and not card[8:].strip():
                ended = True
                break
            if card[8:10] == b"= " and (
                keyword in (b"BITPIX", b"PCOUNT", b"GCOUNT") or keyword.startswith(b"NAXIS")
            ):
                value = _INTEGER.match(card[10:])
                name = keyword.decode("ascii", "replace")
                if value is None:
                    shown = card[10:].split(b"/")[0].strip().decode("latin-1")
                    wrong.append(f"HDU {index}: card {name} must be a whole number, and is {shown!r}")
                else:
                    numbers.setdefault(name, int(value[1]))
        at += _BLOCK
    if wrong:
        raise IngestError("; ".join(wrong))
    axes = _axes(numbers, index)
    pixels = int(np.prod(axes, dtype=object)) if axes else 0
    if axes and axes[0] == 0 and len(axes) > 1 and numbers.get("GCOUNT", 0) > 0:
        pixels = int(np.prod(axes[1:], dtype=object))  # random groups
    size = abs(numbers["BITPIX"]) // 8 * numbers.get("GCOUNT", 1) * (numbers.get("PCOUNT", 0) + pixels)
    end = at + -(-size // _BLOCK) * _BLOCK
    if end > total:
        raise IngestError(
            f"truncated: HDU {index} should end at byte {end:,}, and the file ends at byte {total:,}"
        )
    return _Span(index, start, at, end, bytes(data[start:at]), numbers, axes)


def _axes(numbers: dict[str, int], index: int) -> tuple[int, ...]:
    """Return NAXIS1, NAXIS2, …; all cards that the size hangs on must be there and make sense."""
    missing = [name for name in ("BITPIX", "NAXIS") if name not in numbers]
    missing += [
        f"NAXIS{i + 1}" for i in range(min(numbers.get("NAXIS", 0), 999)) if f"NAXIS{i + 1}" not in numbers
    ]
    if missing:
        raise IngestError(f"HDU {index}: card {', '.join(missing)} is missing")
    if numbers["BITPIX"] not in _DTYPES:
        raise IngestError(
            f"HDU {index}: BITPIX is {numbers['BITPIX']}, and must be 8, 16, 32, 64, -32 or -64"
        )
    axes = tuple(numbers[f"NAXIS{i + 1}"] for i in range(numbers["NAXIS"]))
    if (
        numbers["NAXIS"] < 0
        or min(axes, default=0) < 0
        or numbers.get("PCOUNT", 0) < 0
        or numbers.get("GCOUNT", 1) < 0
    ):
        raise IngestError(f"HDU {index}: an axis, PCOUNT or GCOUNT is negative")
    return axes


def _altered(span: _Span, data: Any, ignored: Sequence[str]) -> list[str]:
    """Check CHECKSUM and DATASUM where they are given."""
    claimed = None if _is_any("DATASUM", ignored) else _text_card(span.header, b"DATASUM")
    checksum = None if _is_any("CHECKSUM", ignored) else _text_card(span.header, b"CHECKSUM")
    if claimed is None and not checksum:
        return []
    problems = []
    data_sum = _ones_complement(data, span.data, span.end, 0)
    if claimed is not None:
        if not claimed.isdigit():
            problems.append(f"DATASUM must be a whole number, and is {claimed!r}")
        elif int(claimed) != data_sum:
            problems.append(f"the data were altered: DATASUM says {claimed}, and they sum to {data_sum}")
    if checksum and _ones_complement(data, span.start, span.data, data_sum) not in (0, 0xFFFFFFFF):
        problems.append("the HDU was altered: its CHECKSUM does not hold")
    return problems


def _is_any(keyword: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(keyword, p) for p in patterns)


def _text_card(header: bytes, keyword: bytes) -> str | None:
    at = header.find(keyword.ljust(8) + b"= ")
    while at >= 0 and at % _CARD:
        at = header.find(keyword.ljust(8) + b"= ", at + 1)
    if at < 0:
        return None
    return header[at + 10 : at + _CARD].split(b"/")[0].strip().strip(b"'").strip().decode("latin-1")


def _ones_complement(data: Any, start: int, end: int, carry: int) -> int:
    """Sum 32-bit words in ones' complement, as appendix J of the standard does."""
    chunk = 1 << 24
    total = carry
    for at in range(start, end, chunk):
        words = np.frombuffer(data, ">u4", count=(min(at + chunk, end) - at) // 4, offset=at)
        total += int(words.sum(dtype=np.uint64))
    while total >> 32:
        total = (total & 0xFFFFFFFF) + (total >> 32)
    return total


def _header(span: _Span, ignored: Sequence[str]) -> tuple[Any, list[str]]:
    """Return the header, and what is wrong with its cards."""
    from astropy.io.fits import Header
    from astropy.io.fits.verify import VerifyError

    problems = []
    end = span.header.rfind(b"END" + b" " * 77)
    for at in range(0, end, _CARD) if _CONTROL.search(span.header, 0, end) else ():
        card = span.header[at : at + _CARD]
        found = _CONTROL.search(card)
        keyword = card[:8].strip().decode("latin-1")
        if found and not _is_any(keyword, ignored):
            what = _CONTROL_NAMES.get(card[found.start()], "a control character")
            problems.append(f"card {keyword!r} holds {what}")
    header = Header.fromstring(span.header.decode("latin-1"))
    if _all_plain(span.header, end):
        return header, problems
    for card in header.cards:
        try:
            card.value  # noqa: B018 - astropy parses a card when its value is asked for
        except (VerifyError, ValueError):
            shown = _text_card(span.header, card.keyword.encode("latin-1")) or ""
            # Many programs write NaN for "unknown", which the standard does not have; so it is taken.
            if shown.upper().lstrip("+-") not in ("NAN", "INF") and not _is_any(card.keyword, ignored):
                problems.append(
                    f"card {card.keyword} is not of the FITS standard: {shown!r} "
                    f"(to let that pass: ignore_cards: [{card.keyword}] in the translator)"
                )
    return header, problems


def _all_plain(header: bytes, end: int) -> bool:
    """Tell whether all values are so plainly right that astropy need not be asked, which is slow."""
    for at in range(0, end, _CARD):
        if header[at + 8 : at + 10] == b"= " and not _PLAIN.match(header, at + 10, at + _CARD):
            return False
    return True


def _image_shape(span: _Span, header: Any) -> tuple[int, ...]:
    if span.is_image:
        return tuple(reversed(span.axes)) if span.axes and 0 not in span.axes else ()
    if header.get("ZIMAGE") is True:
        axes = [header.get(f"ZNAXIS{i + 1}") for i in range(header.get("ZNAXIS", 0))]
        return tuple(reversed(axes)) if axes and all(isinstance(n, int) and n > 0 for n in axes) else ()
    return ()


def _without_values(spans: list[_Span], hdus: list[Hdu], data: Any) -> list[str]:
    """Name images all of whose pixels are NaN or BLANK, if no image of the file has any value."""
    images = [(s, h) for s, h in zip(spans, hdus, strict=True) if h.shape]
    empty = []
    for span, hdu in images:
        if not span.is_image or _has_value(span, hdu.header, data):
            return []
        empty.append(f"HDU {span.index}: every pixel is undefined (NaN or BLANK)")
    return empty


def _has_value(span: _Span, header: Any, data: Any) -> bool:
    bitpix, blank = span.numbers["BITPIX"], header.get("BLANK")
    if bitpix > 0 and not isinstance(blank, int):
        return True
    count = int(np.prod(span.axes))
    chunk = 1 << 20
    for at in range(0, count, chunk):
        pixels = np.frombuffer(
            data, _DTYPES[bitpix], count=min(chunk, count - at), offset=span.data + at * abs(bitpix) // 8
        )
        if bool(np.any(pixels != blank) if bitpix > 0 else np.any(~np.isnan(pixels))):
            return True
    return False

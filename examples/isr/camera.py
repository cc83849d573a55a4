"""Description of a camera: what its headers say wrongly, or not at all.

A description is a YAML file. In a repository it is the dataset `camera` of an instrument, so that a
change of it changes the identity of all that is made with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ccdproc.utils.slices import slice_from_string

from supertask.configs.config import Config, field

__all__ = ["Amplifier", "Camera", "Detector", "number", "section"]


class Amplifier(Config):
    """One readout amplifier: where its pixels stand in the raw frame, and how it counts.

    Sections are FITS sections, columns first, counted from 1, ends included: ``[1:1024,1:350]``.
    Instead of a section or number there may be the name of a header card that holds it.
    """

    data: str = field(doc="Section of light-sensitive pixels in the raw frame.")
    overscan: str = field("", doc="Section of overscan in the raw frame; empty if there is none.")
    gain: float | str = field(1.0, doc="Electrons per ADU.", unit="electron/adu")
    read_noise: float | str = field(0.0, doc="Read noise, one sigma.", unit="electron")
    saturation: float | str = field(65535.0, doc="Raw value from which on a pixel is saturated.", unit="adu")


class Detector(Config):
    """One detector; the data sections of its amplifiers stand side by side, in order, in the image."""

    number: int = field(doc="Number of the detector within the camera.", min=0)
    amplifiers: list[Amplifier] = field(doc="Amplifiers by increasing column of the image.")
    pedestal: float = field(
        0.0, doc="Constant to subtract where there is neither overscan nor bias.", unit="adu"
    )


class Camera(Config):
    """All detectors of a camera, and the names of the header cards that tell of an exposure."""

    detectors: list[Detector] = field(doc="All detectors.")
    exposure_time: str = field("EXPTIME", doc="Card with the exposure time in seconds.")

    def detector(self, number: int) -> Detector:
        """Return a detector by its number.

        Raises
        ------
        ValueError
            There is no such detector.
        """
        for detector in self.detectors:
            if detector.number == number:
                return detector
        known = ", ".join(str(d.number) for d in self.detectors)
        raise ValueError(f"the camera has no detector {number}; it has {known}")


def number(value: float | str, header: Mapping[str, Any]) -> float:
    """Return a number that is given itself or by the name of a header card.

    Raises
    ------
    ValueError
        There is no such card, or it holds no number.
    """
    if not isinstance(value, str):
        return float(value)
    try:
        return float(header[value])
    except (KeyError, TypeError, ValueError):
        raise ValueError(
            f"header card {value!r} with a number is needed, got {header.get(value)!r}"
        ) from None


def section(value: str, header: Mapping[str, Any]) -> tuple[slice, slice]:
    """Return the array slices of a FITS section, given itself or by the name of a header card.

    Raises
    ------
    ValueError
        There is no such card, or it holds no section.
    """
    text = value if value.startswith("[") else str(header.get(value, ""))
    if not text.strip().startswith("["):
        raise ValueError(f"header card {value!r} with a FITS section is needed, got {text!r}")
    rows, columns = slice_from_string(text.replace(" ", ""), fits_convention=True)
    return rows, columns

"""SuperTasks for spectra: their noise, their continuum, and which visits belong to a star.

Each names what it reads in its configuration, so it serves other products of the same units too::

    tasks:
      snr_of_spec:
        class: examples.spectra.tasks:EstimateSNRofApVisit
        config: {spectrum: spec, snr: spec_snr}
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from specutils import Spectrum

from examples.spectra.continuum import (
    chebyshev,
    fit_continuum,
    normalise,
    scalar_continuum,
    sines_cosines,
)
from examples.spectra.rows import combined, is_combined, mean_spectrum, visits
from examples.spectra.snr import inverse_variance, signal_to_noise
from supertask import Config, InputField, NoWork, OutputField, Struct, SuperTask, SuperTaskConfig, Task, field
from supertask.tasks.configurable import ConfigurableField

__all__ = [
    "ChebyshevConfig",
    "ChebyshevTask",
    "ContinuumConfig",
    "ContinuumTask",
    "EstimateSNRofApStar",
    "EstimateSNRofApStarConfig",
    "EstimateSNRofApVisit",
    "EstimateSNRofApVisitConfig",
    "NormaliseApStarConfig",
    "NormaliseApStarTask",
    "NormaliseApVisitConfig",
    "NormaliseApVisitTask",
    "NormaliseConfig",
    "SNRConfig",
    "ScalarConfig",
    "ScalarTask",
    "SelectVisitsConfig",
    "SelectVisitsTask",
    "SinesCosinesConfig",
    "SinesCosinesTask",
]

Array = npt.NDArray[Any]

VISIT = ("release", "visit")
STAR = ("release", "object")


# -- signal to noise --------------------------------------------------------------------------------


class SNRConfig(SuperTaskConfig):
    """What estimates of signal to noise have in common."""

    fudge_factor: float = field(1.0, doc="The estimate is multiplied by it.", min=0)
    statistic: str = field("median", doc="Over pixels with data.", choices=("median", "mean"))
    masked: bool = field(False, doc="Leave out masked pixels too, which SDSS's own figures count.")


class EstimateSNRofApVisitConfig(SNRConfig):
    """Configuration of `EstimateSNRofApVisit`."""

    quantum_units = VISIT
    spectrum = InputField(VISIT, "spectrum", name="apVisit", doc="Spectrum of a visit.")
    snr = OutputField(VISIT, "json", name="apVisit_snr", doc="Its signal to noise of a pixel.")


class EstimateSNRofApVisit(SuperTask):
    """Spectrum of a visit → signal to noise of a pixel."""

    ConfigClass: ClassVar[type[Config]] = EstimateSNRofApVisitConfig
    _DefaultName = "snr_of_visit"

    def run(self, spectrum: Spectrum) -> Struct:
        """Estimate it, of the first row if there are several."""
        config = self.config
        found = signal_to_noise(spectrum, statistic=config.statistic, masked=config.masked)
        estimate = float(np.ravel(found)[0])
        if not np.isfinite(estimate):
            raise NoWork("no pixel of the spectrum has data")
        published = spectrum.meta.get("header", {}).get("SNR")
        return Struct(snr={"snr": config.fudge_factor * estimate, "published": published})


class EstimateSNRofApStarConfig(SNRConfig):
    """Configuration of `EstimateSNRofApStar`."""

    quantum_units = STAR
    spectrum = InputField(STAR, "spectrum", name="apStar", doc="Combined spectrum of a star, its first row.")
    snr = OutputField(STAR, "json", name="apStar_snr", doc="Its signal to noise of a pixel.")


class EstimateSNRofApStar(EstimateSNRofApVisit):
    """Combined spectrum of a star → signal to noise of a pixel."""

    ConfigClass = EstimateSNRofApStarConfig
    _DefaultName = "snr_of_star"


# -- continuum --------------------------------------------------------------------------------------


class ContinuumConfig(Config):
    """What all ways to fit a continuum have in common."""

    regions: tuple[tuple[float, float], ...] = field(
        (), doc="Wavelengths from and to, each fitted by itself; empty for all at once.", unit="Angstrom"
    )
    leave_out: tuple[tuple[float, float], ...] = field(
        (), doc="Wavelengths from and to that are not fitted: lines.", unit="Angstrom"
    )
    masked: bool = field(True, doc="Leave masked pixels out of the fit.")


class ContinuumTask(Task):
    """Spectra → their continua; the base of those below."""

    ConfigClass = ContinuumConfig
    _DefaultName = "continuum"

    def run(self, spectrum: Spectrum) -> Array:
        """Return continua in units of the flux, in its shape; NaN where there is none."""
        wavelength = spectrum.spectral_axis.to_value("Angstrom")
        out = np.zeros(spectrum.flux.shape, bool)
        if self.config.masked and spectrum.mask is not None:
            out |= np.asarray(spectrum.mask, bool)
        for low, high in self.config.leave_out:
            out |= (wavelength >= low) & (wavelength <= high)
        return self.fit(wavelength, spectrum.flux.value, inverse_variance(spectrum), out)

    def fit(self, wavelength: Array, flux: Array, ivar: Array, mask: Array) -> Array:
        """Return continua; to be written by subclasses."""
        raise NotImplementedError(f"{type(self).__name__} does not define fit")


class ChebyshevConfig(ContinuumConfig):
    """Configuration of `ChebyshevTask`."""

    order: int = field(4, doc="Highest order.", min=0, max=50)


class ChebyshevTask(ContinuumTask):
    """Continuum of Chebyshev polynomials."""

    ConfigClass = ChebyshevConfig
    _DefaultName = "chebyshev"

    def fit(self, wavelength: Array, flux: Array, ivar: Array, mask: Array) -> Array:
        """Return continua."""
        basis = chebyshev(self.config.order)
        return fit_continuum(wavelength, flux, ivar, basis, regions=self.config.regions, mask=mask)


class SinesCosinesConfig(ContinuumConfig):
    """Configuration of `SinesCosinesTask`."""

    order: int = field(3, doc="Number of frequencies.", min=0, max=50)
    length: float = field(1400.0, doc="Period of the lowest frequency.", unit="Angstrom", min=1e-6)


class SinesCosinesTask(ContinuumTask):
    """Continuum of sines and cosines."""

    ConfigClass = SinesCosinesConfig
    _DefaultName = "sines_cosines"

    def fit(self, wavelength: Array, flux: Array, ivar: Array, mask: Array) -> Array:
        """Return continua."""
        basis = sines_cosines(self.config.order, self.config.length)
        return fit_continuum(wavelength, flux, ivar, basis, regions=self.config.regions, mask=mask)


class ScalarConfig(ContinuumConfig):
    """Configuration of `ScalarTask`."""

    statistic: str = field("median", doc="Over usable pixels.", choices=("median", "mean"))


class ScalarTask(ContinuumTask):
    """Continuum that is one number."""

    ConfigClass = ScalarConfig
    _DefaultName = "scalar"

    def fit(self, wavelength: Array, flux: Array, ivar: Array, mask: Array) -> Array:
        """Return continua."""
        config = self.config
        return scalar_continuum(
            wavelength, flux, ivar, statistic=config.statistic, regions=config.regions, mask=mask
        )


class NormaliseConfig(SuperTaskConfig):
    """What normalisations have in common."""

    continuum = ConfigurableField(ChebyshevTask, base=ContinuumTask, doc="Fits the continuum.")


class NormaliseApVisitConfig(NormaliseConfig):
    """Configuration of `NormaliseApVisitTask`."""

    quantum_units = VISIT
    spectrum = InputField(VISIT, "spectrum", name="apVisit", doc="Spectrum of a visit.")
    normalised = OutputField(VISIT, "spectrum", name="apVisit_normalised", doc="It, over its continuum.")


class NormaliseApVisitTask(SuperTask):
    """Spectrum → spectrum over its continuum; all rows, if there are several."""

    ConfigClass: ClassVar[type[Config]] = NormaliseApVisitConfig
    _DefaultName = "normalise_visit"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.continuum = self.makeSubtask("continuum")

    def run(self, spectrum: Spectrum) -> Struct:
        """Fit and divide."""
        continuum = self.continuum.run(spectrum)
        if not np.isfinite(continuum).any():
            raise NoWork("too few pixels can be used to fit a continuum")
        return Struct(normalised=normalise(spectrum, continuum))


class NormaliseApStarConfig(NormaliseConfig):
    """Configuration of `NormaliseApStarTask`."""

    quantum_units = STAR
    spectrum = InputField(STAR, "spectrum", name="apStar", doc="Spectra of a star, combined and of visits.")
    normalised = OutputField(STAR, "spectrum", name="apStar_normalised", doc="They, over their continua.")


class NormaliseApStarTask(NormaliseApVisitTask):
    """Spectra of a star → spectra over their continua."""

    ConfigClass = NormaliseApStarConfig
    _DefaultName = "normalise_star"


# -- visits of a star -------------------------------------------------------------------------------


class SelectVisitsConfig(SuperTaskConfig):
    """Configuration of `SelectVisitsTask`."""

    quantum_units = STAR
    star = InputField(STAR, "spectrum", name="apStar", doc="Spectra of a star.")
    visit = InputField(VISIT, "spectrum", name="apVisit", minimum=0, doc="What is there of its visits.")
    selection = OutputField(STAR, "json", name="visit_selection", doc="Which of them SDSS combined.")


class SelectVisitsTask(SuperTask):
    """Visits and star → which visits SDSS combined, and whether their mean is the combined spectrum.

    ``kept`` are visits (plate, MJD, fiber) by the rule of `is_combined`, ``listed`` those that the
    apStar says it was made of, ``ratio`` is the median over pixels of the mean of its visits over its
    combined spectrum.
    """

    ConfigClass = SelectVisitsConfig
    _DefaultName = "select_visits"

    def run(self, star: Spectrum, visit: Sequence[Spectrum]) -> Struct:
        """Compare."""
        header = star.meta["header"]
        listed = [str(header[f"SFILE{i + 1}"]) for i in range(int(header["NVISITS"]))]
        kept = [_identifier(v.meta["header"]) for v in visit if is_combined(v.meta["header"])]
        whole, mean = combined(star), mean_spectrum(visits(star))
        use = (whole.uncertainty.array > 0) & ~mean.mask
        ratio = float(np.median(mean.flux.value[use] / whole.flux.value[use])) if use.any() else None
        return Struct(
            selection={
                "n_visits": int(header["NVISITS"]),
                "listed": [_plate_mjd_fiber(name) for name in listed],
                "n_files": len(visit),
                "kept": kept,
                "ratio": ratio,
            }
        )


def _identifier(header: Any) -> list[int]:
    return [int(str(header[card]).strip()) for card in ("PLATE", "MJD5", "FIBERID")]


def _plate_mjd_fiber(name: str) -> list[int]:
    """Read them from the name of an apVisit, such as ``apVisit-r6-6561-56587-131.fits``."""
    stem = name.strip().removesuffix(".fits")
    return [int(part) for part in stem.rsplit("-", 3)[1:]]

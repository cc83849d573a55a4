"""From combined spectra of stars to their parameters: the last step of `stars_pipeline.yaml`.

It fits the network to spectra that steps before it divided by their continuum, of stars whose signal to noise
another step found high enough. Where to begin, and how much noise is borne, are parameters of each quantum.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from specutils import Spectrum

from examples.spectra.payne import Network, fit_spectrum
from examples.spectra.snr import inverse_variance
from supertask import (
    Config,
    InputField,
    NoWork,
    OutputField,
    Parameters,
    Quantum,
    Struct,
    SuperTask,
    SuperTaskConfig,
    field,
    overhead,
    parameter,
)
from supertask.datasets import Dataset

__all__ = ["FitStarConfig", "FitStarParameters", "FitStarTask"]

Array = npt.NDArray[Any]

RELEASE = ("release",)
STAR = ("release", "object")
_NEAR = 0.01
"""Of the range of a label: as near to its end is at its end."""


class FitStarParameters(Parameters):
    """What a fit of one star begins with."""

    initial_guess: tuple[float, float, float] = parameter(
        (5500.0, 4.5, 0.0), doc="Teff in K, log g and [Fe/H] from where the fit begins."
    )
    minimum_snr: float = parameter(10.0, doc="Signal to noise of a pixel below which a star is not fitted.")


class FitStarConfig(SuperTaskConfig):
    """Configuration of `FitStarTask`."""

    quantum_units = STAR
    spectrum = InputField(STAR, "spectrum", name="apStar_normalised", doc="Spectra over their continua.")
    snr = InputField(STAR, "json", name="apStar_snr", doc="Signal to noise of the combined one.")
    network = InputField(RELEASE, "numpy", overhead=True, doc="Arrays of the network, as published.")
    pixels = InputField(RELEASE, "numpy", overhead=True, doc="Arrays wavelength and mask of the pixels.")
    labels = OutputField(STAR, "json", name="star_labels", doc="Labels of the star, and its velocity.")
    names: tuple[str, ...] = field(("teff", "logg", "fe_h"), doc="Names of the first labels.")
    guesses: dict[str, tuple[float, float, float]] = field(
        {}, doc="Star → where its fit begins; all others begin at one place."
    )
    minimum_snr: float = field(10.0, doc="Signal to noise below which stars are not fitted.", min=0)


class FitStarTask(SuperTask):
    """Spectrum of a star over its continuum → its labels and velocity by the network."""

    ConfigClass: ClassVar[type[Config]] = FitStarConfig
    ParametersClass = FitStarParameters
    _DefaultName = "fit_star"

    def defineQuanta(self, repoGraph: Any) -> Sequence[Quantum]:
        """Give each star that is there the place where its fit begins."""
        config = self.config
        made = []
        for quantum in super().defineQuanta(repoGraph):
            star = _one(quantum.inputs[config.spectrum]).dataId["object"]
            begin = {"initial_guess": config.guesses[star]} if star in config.guesses else {}
            own = FitStarParameters(minimum_snr=config.minimum_snr, **begin)
            made.append(Quantum(quantum.inputs, quantum.outputs, parameters=own))
        return made

    @overhead
    def model(self, network: Mapping[str, Array]) -> Network:
        """Return the network."""
        return Network.from_arrays(network)

    def runQuantum(self, quantum: Quantum, butler: Any) -> None:
        """Fit one star."""
        config, own = self.config, quantum.parameters
        snr = self.readInput("snr", quantum, butler)["snr"]
        if snr < own.minimum_snr:
            raise NoWork(f"signal to noise is {snr:.1f}, and {own.minimum_snr:g} is the least that is fitted")
        spectrum, pixels = (self.readInput(name, quantum, butler) for name in ("spectrum", "pixels"))
        found = self.run(spectrum, pixels, own).labels
        butler.put({**found, "snr": snr}, _one(quantum.outputs[config.labels]))

    def run(self, spectrum: Spectrum, pixels: Mapping[str, Array], parameters: FitStarParameters) -> Struct:
        """Fit the first row of a spectrum.

        Parameters
        ----------
        spectrum : Spectrum
            Over its continuum; wavelengths in vacuum.
        pixels : Mapping
            Arrays wavelength (Å) and mask (True: not fitted), each shape (pixels,).
        parameters : FitStarParameters
            Where to begin.
        """
        flux, ivar = (np.atleast_2d(each)[0] for each in (spectrum.flux.value, inverse_variance(spectrum)))
        good = (ivar > 0) & np.isfinite(flux)
        if spectrum.mask is not None:
            good &= ~np.atleast_2d(spectrum.mask)[0]
        own, wanted = spectrum.spectral_axis.to_value("Angstrom"), np.asarray(pixels["wavelength"])
        # Both are even in log wavelength, and so nearly the same pixels that the noise stays as it is.
        error = np.sqrt(1.0 / np.where(good, ivar, 1.0))
        left_out = np.interp(wanted, own, (~good).astype(float), left=1.0, right=1.0) > 0
        network = self.model()
        found = fit_spectrum(
            network,
            wanted,
            np.interp(wanted, own, np.where(good, flux, 1.0)),
            np.interp(wanted, own, error),
            mask=left_out | np.asarray(pixels["mask"], bool),
            initial=parameters.initial_guess,
        )
        names = self.config.names
        labels = {name: float(value) for name, value in zip(names, found.labels, strict=False)}
        errors = {f"{name}_error": float(e) for name, e in zip(names, found.errors, strict=False)}
        place = (found.labels - network.low) / (network.high - network.low)
        beyond = [n for n, x in zip(names, place, strict=False) if not _NEAR < x < 1 - _NEAR]
        return Struct(
            labels={
                **labels,
                **errors,
                "velocity": found.velocity,
                "chi2": found.chi2,
                "n_pixels": found.n_pixels,
                "at_limit": beyond,
            }
        )


def _one(datasets: Any) -> Dataset:
    (dataset,) = datasets
    found: Dataset = dataset
    return found

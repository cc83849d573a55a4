"""SuperTasks from spectra to stellar parameters, one star a quantum; their models are overheads.

The quadratic model is learnt from all stars with known labels by one task, and is an input of the next, which
fits the stars of a bundle all at once. The network is fitted to one star after another; it is read and set up
once for as many stars as a process fits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import attrs
import numpy as np
import numpy.typing as npt

from examples.spectra.cannon import QuadraticModel, fit_labels, train
from examples.spectra.payne import Network, fit_spectrum
from supertask import (
    Butler,
    Config,
    Dataset,
    InputField,
    OutputField,
    Struct,
    SuperTask,
    SuperTaskConfig,
    field,
)
from supertask.butler.port import DatasetSource
from supertask.tasks.bundles import Bundle
from supertask.tasks.overheads import overhead

__all__ = [
    "FitLabelsConfig",
    "FitLabelsTask",
    "FitNetworkConfig",
    "FitNetworkTask",
    "TrainConfig",
    "TrainTask",
    "stage_network",
    "stage_training",
]

Array = npt.NDArray[Any]

RELEASE = ("release",)
STAR = ("release", "object")


class TrainConfig(SuperTaskConfig):
    """Configuration of `TrainTask`."""

    quantum_units = RELEASE
    training = InputField(
        RELEASE, "numpy", name="training_set", doc="Arrays labels, flux and ivar of all stars."
    )
    model = OutputField(RELEASE, "numpy", name="quadratic_model", doc="Arrays of the model.")
    iterations: int = field(5, doc="How often the scatter is found anew.", min=1)


class TrainTask(SuperTask):
    """Stars with known labels → quadratic model of their spectra."""

    ConfigClass: ClassVar[type[Config]] = TrainConfig
    _DefaultName = "train"

    def run(self, training: Mapping[str, Array]) -> Struct:
        """Learn it, and note how well it describes the stars."""
        ivar = training["ivar"]
        model = train(training["labels"], training["flux"], ivar, iterations=self.config.iterations)
        off = (training["flux"] - model.flux(training["labels"]))[ivar > 0]
        self.metadata["residual"] = float(np.sqrt(np.mean(off**2)))
        return Struct(model=attrs.asdict(model))


class FitLabelsConfig(SuperTaskConfig):
    """Configuration of `FitLabelsTask`."""

    quantum_units = STAR
    star = InputField(STAR, "numpy", name="star", doc="Arrays flux and ivar of a star.")
    model = InputField(RELEASE, "numpy", name="quadratic_model", overhead=True, doc="Arrays of the model.")
    labels = OutputField(STAR, "json", name="quadratic_labels", doc="Labels of the star, and their errors.")
    names: tuple[str, ...] = field(("teff", "logg", "m_h"), doc="Names of the labels.")


class FitLabelsTask(SuperTask):
    """Spectrum of a star → its labels by the quadratic model; those of a bundle all at once."""

    ConfigClass: ClassVar[type[Config]] = FitLabelsConfig
    _DefaultName = "fit_labels"

    @overhead
    def quadratic(self, model: Mapping[str, Array]) -> QuadraticModel:
        """Return the model."""
        return QuadraticModel(**model)

    def run(self, star: Mapping[str, Array]) -> Struct:
        """Fit one star."""
        labels, covariance = fit_labels(self.quadratic(), star["flux"][None], star["ivar"][None])
        return Struct(labels=self._said(labels[0], covariance[0]))

    def runBundle(self, bundle: Bundle, butler: DatasetSource) -> None:
        """Fit the stars of a bundle together."""
        stars = [item.inputs.star for item in bundle]
        flux, ivar = (np.array([star[name] for star in stars]) for name in ("flux", "ivar"))
        labels, covariance = fit_labels(self.quadratic(), flux, ivar)
        for item, found, its in zip(bundle, labels, covariance, strict=True):
            with item:
                (out,) = item.quantum.outputs[self.config.labels]
                item.butler.put(self._said(found, its), out)

    def _said(self, labels: Array, covariance: Array) -> dict[str, float]:
        errors = np.sqrt(np.diagonal(covariance))
        names: Sequence[str] = self.config.names
        said = {name: float(value) for name, value in zip(names, labels, strict=True)}
        return said | {f"{name}_error": float(e) for name, e in zip(names, errors, strict=True)}


class FitNetworkConfig(SuperTaskConfig):
    """Configuration of `FitNetworkTask`."""

    quantum_units = STAR
    star = InputField(STAR, "numpy", name="normalised_star", doc="Arrays spectrum and spec_err of a star.")
    network = InputField(RELEASE, "numpy", overhead=True, doc="Arrays of the network, as published.")
    pixels = InputField(RELEASE, "numpy", overhead=True, doc="Arrays wavelength and mask of the pixels.")
    labels = OutputField(STAR, "json", name="network_labels", doc="Labels of the star, and its velocity.")
    names: tuple[str, ...] = field(("teff", "logg", "fe_h"), doc="Names of the first labels.")


class FitNetworkTask(SuperTask):
    """Spectrum of a star → its labels and velocity by the network."""

    ConfigClass: ClassVar[type[Config]] = FitNetworkConfig
    _DefaultName = "fit_network"

    @overhead
    def model(self, network: Mapping[str, Array]) -> Network:
        """Return the network."""
        return Network.from_arrays(network)

    def run(self, star: Mapping[str, Array], pixels: Mapping[str, Array]) -> Struct:
        """Fit one star."""
        spectrum, error = (star[name].astype(float) for name in ("spectrum", "spec_err"))
        found = fit_spectrum(self.model(), pixels["wavelength"], spectrum, error, mask=pixels["mask"])
        labels = {name: float(value) for name, value in zip(self.config.names, found.labels, strict=False)}
        return Struct(labels=labels | {"velocity": found.velocity, "chi2": found.chi2})


# -- data -------------------------------------------------------------------------------------------


def stage_training(butler: Butler, path: Path, *, release: str = "dr13", run: str = "stars/cannon") -> int:
    """Put a file of stars with labels, flux and unc (noise) in a repository; return how many there are."""
    with np.load(path) as arrays:
        labels, flux, noise = arrays["labels"].T, arrays["flux"], arrays["unc"]
    ivar = np.where(noise < 1, noise**-2.0, 0.0)
    names = [f"star{i:03d}" for i in range(len(flux))]
    butler.insert_units("release", [{"release": release}])
    butler.insert_units("object", [{"object": name} for name in names])
    training = Dataset.subclass("training_set", RELEASE, "numpy")
    star = Dataset.subclass("star", STAR, "numpy")
    for kind in (training, star):
        butler.register_type(kind)
    butler.put({"labels": labels, "flux": flux, "ivar": ivar}, training(release=release), run=run)
    for name, its_flux, its_ivar in zip(names, flux, ivar, strict=True):
        butler.put({"flux": its_flux, "ivar": its_ivar}, star(release=release, object=name), run=run)
    return len(names)


def stage_network(butler: Butler, folder: Path, *, release: str = "payne", run: str = "stars/payne") -> int:
    """Put the published network with its pixels and spectra in a repository; return how many stars."""
    types = {name: Dataset.subclass(name, RELEASE, "numpy") for name in ("network", "pixels")}
    star = Dataset.subclass("normalised_star", STAR, "numpy")
    for kind in (*types.values(), star):
        butler.register_type(kind)
    butler.insert_units("release", [{"release": release}])
    with np.load(folder / "NN_normalized_spectra.npz") as arrays:
        butler.put(dict(arrays), types["network"](release=release), run=run)
    with np.load(folder / "apogee_wavelength.npz") as wavelength, np.load(folder / "apogee_mask.npz") as mask:
        pixels = {"wavelength": wavelength["wavelength"], "mask": mask["apogee_mask"]}
    butler.put(pixels, types["pixels"](release=release), run=run)
    paths = sorted(folder.glob("spectrum_ap_id_*.npz"))
    for path in paths:
        name = path.stem.removeprefix("spectrum_ap_id_").rstrip("_")
        butler.insert_units("object", [{"object": name}])
        with np.load(path) as arrays:
            spectrum = {each: arrays[each] for each in ("spectrum", "spec_err")}
        butler.put(spectrum, star(release=release, object=name), run=run)
    return len(paths)

"""SuperTasks of instrument signature removal, all of them declared: their authors wrote only `run`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from astropy.nddata import CCDData
from astropy.table import Table

from examples.isr.calibrations import master_bias, master_dark, master_flat, saturated_fraction
from examples.isr.camera import Camera, Detector, section
from examples.isr.correct import (
    apply_gain,
    divide_by_flat,
    exposure_time,
    mask_cosmic_rays,
    single_precision,
    subtract_master_bias,
    subtract_master_dark,
    with_variance,
)
from examples.isr.readout import amplifier_map, assemble
from examples.isr.transfer import photon_transfer, read_noise
from supertask import (
    CalibrationField,
    InputField,
    NoWork,
    OutputField,
    Struct,
    SuperTask,
    SuperTaskConfig,
    field,
)

__all__ = [
    "BiasConfig",
    "BiasTask",
    "DarkConfig",
    "DarkTask",
    "FlatConfig",
    "FlatTask",
    "IsrConfig",
    "IsrTask",
    "TransferConfig",
    "TransferTask",
]

RAW = ("exposure", "detector")


class BiasConfig(SuperTaskConfig):
    """Configuration of `BiasTask`."""

    quantum_units = ("detector",)
    camera = InputField("instrument", "yaml", prerequisite=True, doc="Description of the camera.")
    raws = InputField(RAW, "fits_image", name="raw", select={"exposure.obs_type": "bias"}, doc="Biases.")
    bias = OutputField("detector", "fits_image", doc="Master bias, ADU.")
    median_overscan: bool = field(
        True, doc="Whether the level of a row's overscan is its median, not its mean."
    )
    sigma: float = field(5.0, doc="Where values are clipped, in expected deviations.", min=1.0)


class BiasTask(SuperTask):
    """Biases of a detector → master bias."""

    ConfigClass = BiasConfig
    _DefaultName = "bias"

    def run(self, raws: Sequence[CCDData], camera: Mapping[str, Any], dataId: Mapping[str, Any]) -> Struct:
        """Combine biases."""
        _, detector = described(camera, dataId)
        return Struct(
            bias=master_bias(raws, detector, median=self.config.median_overscan, sigma=self.config.sigma)
        )


class DarkConfig(SuperTaskConfig):
    """Configuration of `DarkTask`."""

    quantum_units = ("detector",)
    camera = InputField("instrument", "yaml", prerequisite=True, doc="Description of the camera.")
    raws = InputField(RAW, "fits_image", name="raw", select={"exposure.obs_type": "dark"}, doc="Darks.")
    bias = CalibrationField("detector", "fits_image", doc="Master bias.")
    dark = OutputField("detector", "fits_image", doc="Master dark, ADU in its exposure time.")
    sigma: float = field(5.0, doc="Where values are clipped, in expected deviations.", min=1.0)


class DarkTask(SuperTask):
    """Darks of a detector → master dark."""

    ConfigClass = DarkConfig
    _DefaultName = "dark"

    def run(
        self, raws: Sequence[CCDData], camera: Mapping[str, Any], bias: CCDData, dataId: Mapping[str, Any]
    ) -> Struct:
        """Combine darks."""
        whole, detector = described(camera, dataId)
        return Struct(dark=master_dark(raws, whole, detector, bias, sigma=self.config.sigma))


class FlatConfig(SuperTaskConfig):
    """Configuration of `FlatTask`."""

    quantum_units = ("detector", "physical_filter")
    camera = InputField("instrument", "yaml", prerequisite=True, doc="Description of the camera.")
    raws = InputField(RAW, "fits_image", name="raw", select={"exposure.obs_type": "flat"}, doc="Flats.")
    bias = CalibrationField("detector", "fits_image", doc="Master bias.")
    dark = CalibrationField("detector", "fits_image", minimum=0, doc="Master dark, if the camera needs one.")
    flat = OutputField(("detector", "physical_filter"), "fits_image", doc="Master flat, median 1.")
    electrons: bool = field(True, doc="Whether gains are divided out first; as in what is flat-fielded.")
    max_saturated: float = field(
        0.001, doc="Frames with a larger fraction of saturated pixels are left out.", min=0.0, max=1.0
    )
    sigma: float = field(5.0, doc="Where values are clipped, in expected deviations.", min=1.0)


class FlatTask(SuperTask):
    """Flats of a detector in a filter → master flat."""

    ConfigClass = FlatConfig
    _DefaultName = "flat"

    def run(
        self,
        raws: Sequence[CCDData],
        camera: Mapping[str, Any],
        bias: CCDData,
        dark: CCDData | None,
        dataId: Mapping[str, Any],
    ) -> Struct:
        """Combine flats that are not saturated."""
        whole, detector = described(camera, dataId)
        good = [r for r in raws if saturated_fraction(r, detector) <= self.config.max_saturated]
        self.metadata["saturated_frames"] = len(raws) - len(good)
        if not good:
            raise NoWork(f"all {len(raws)} flats of {dataId} are saturated")
        flat = master_flat(
            good, whole, detector, bias, dark, electrons=self.config.electrons, sigma=self.config.sigma
        )
        return Struct(flat=flat)


class IsrConfig(SuperTaskConfig):
    """Configuration of `IsrTask`."""

    quantum_units = RAW
    camera = InputField("instrument", "yaml", prerequisite=True, doc="Description of the camera.")
    raw = InputField(RAW, "fits_image", select={"exposure.obs_type": "science"}, doc="Raw frame.")
    bias = CalibrationField("detector", "fits_image", minimum=0, doc="Master bias.")
    dark = CalibrationField("detector", "fits_image", minimum=0, doc="Master dark.")
    flat = CalibrationField(("detector", "physical_filter"), "fits_image", minimum=0, doc="Master flat.")
    isr_image = OutputField(RAW, "fits_image", doc="Image of the sky with variance and mask.")
    use_bias: bool = field(True, doc="Whether to subtract the master bias.")
    use_dark: bool = field(True, doc="Whether to subtract the master dark.")
    use_flat: bool = field(True, doc="Whether to divide by the master flat.")
    electrons: bool = field(True, doc="Whether the image is in electrons rather than ADU.")
    flat_minimum: float = field(0.1, doc="Pixels where the flat is lower are masked.", min=0.0)
    find_cosmic_rays: bool = field(True, doc="Whether to mask cosmic rays; takes an image in electrons.")
    cosmic_ray_sigma: float = field(5.0, doc="Threshold of L.A.Cosmic.", min=1.0)
    cosmic_ray_contrast: float = field(5.0, doc="Contrast of L.A.Cosmic against fine structure.", min=1.0)

    def validate(self) -> None:
        """Cosmic rays are told from noise by Poisson's law, which holds for electrons."""
        if self.find_cosmic_rays and not self.electrons:
            raise ValueError("find_cosmic_rays takes an image in electrons: set electrons=true")


class IsrTask(SuperTask):
    """Raw frame and master calibrations → image of the sky."""

    ConfigClass = IsrConfig
    _DefaultName = "isr"

    def run(
        self,
        raw: CCDData,
        camera: Mapping[str, Any],
        bias: CCDData | None,
        dark: CCDData | None,
        flat: CCDData | None,
        dataId: Mapping[str, Any],
    ) -> Struct:
        """Correct one frame."""
        config = self.config
        whole, detector = described(camera, dataId)
        image = assemble(raw, detector)
        if config.use_bias:
            image = subtract_master_bias(image, _needed("bias", bias))
        image = with_variance(image, detector)
        if config.use_dark:
            image = subtract_master_dark(image, _needed("dark", dark), card=whole.exposure_time)
        if config.electrons:
            image = apply_gain(image, detector)
        if config.find_cosmic_rays:
            # Before the flat, while counts still follow Poisson's law.
            image = mask_cosmic_rays(
                image,
                sigma=config.cosmic_ray_sigma,
                contrast=config.cosmic_ray_contrast,
                noise=float(amplifier_map(image, detector, "read_noise").mean()),
            )
        if config.use_flat:
            image = divide_by_flat(image, _needed("flat", flat), minimum=config.flat_minimum)
        self.metadata["masked_fraction"] = float(image.mask.mean())
        return Struct(isr_image=single_precision(image))


class TransferConfig(SuperTaskConfig):
    """Configuration of `TransferTask`."""

    quantum_units = ("detector",)
    camera = InputField("instrument", "yaml", prerequisite=True, doc="Description of the camera.")
    raws = InputField(
        RAW, "fits_image", name="raw", select={"exposure.obs_type": ["bias", "flat"]}, doc="Biases and flats."
    )
    transfer = OutputField("detector", "ecsv", doc="Gain and read noise of each amplifier.")
    rows: tuple[int, int] | None = field(
        None, doc="First and one past the last illuminated row; all unless given."
    )
    max_saturated: float = field(
        0.001, doc="Frames with a larger fraction of saturated pixels are left out.", min=0.0, max=1.0
    )


class TransferTask(SuperTask):
    """Biases and flats of a detector → gain and read noise of its amplifiers, to write its description by."""

    ConfigClass = TransferConfig
    _DefaultName = "transfer"

    def run(self, raws: Sequence[CCDData], camera: Mapping[str, Any], dataId: Mapping[str, Any]) -> Struct:
        """Measure all amplifiers. A frame that was not exposed is a bias."""
        whole, detector = described(camera, dataId)
        exposed = [exposure_time(r.header, whole.exposure_time) > 0 for r in raws]
        biases = [r for r, is_exposed in zip(raws, exposed, strict=True) if not is_exposed]
        flats = [r for r, is_exposed in zip(raws, exposed, strict=True) if is_exposed]
        good = [f for f in flats if saturated_fraction(f, detector) <= self.config.max_saturated]
        if min(len(biases), len(good)) < 2:
            raise NoWork(f"two biases and two flats are needed, there are {len(biases)} and {len(good)}")
        return Struct(transfer=measure_transfer(biases, good, detector, rows=self.config.rows))


def measure_transfer(
    biases: Sequence[CCDData],
    flats: Sequence[CCDData],
    detector: Detector,
    *,
    rows: tuple[int, int] | None = None,
) -> Table:
    """Return a table of amplifier, gain (electron/adu) and read noise (adu, electron), from raw frames."""
    raw = [assemble(b, detector, overscan=False).data for b in biases]
    clean = [assemble(b, detector).data for b in biases]
    bright = [assemble(f, detector).data for f in flats]
    lines = []
    start = 0
    lit = slice(*rows) if rows else slice(None)
    for index, width in enumerate(_widths(biases[0], detector)):
        columns = slice(start, start + width)
        noise = read_noise([b[:, columns] for b in raw])
        found = photon_transfer(
            [f[lit, columns] for f in bright], [b[lit, columns] for b in clean], noise=noise
        )
        lines.append((index + 1, found.gain, noise, noise * found.gain))
        start += width
    return Table(
        rows=lines,
        names=("amplifier", "gain", "read_noise", "read_noise_electrons"),
        units=(None, "electron / adu", "adu", "electron"),
    )


def described(camera: Mapping[str, Any], dataId: Mapping[str, Any]) -> tuple[Camera, Detector]:
    """Return the camera that the dataset `camera` describes, and the detector of a data ID."""
    whole = Camera.from_dict(camera, "dataset camera")
    return whole, whole.detector(int(dataId["detector"]))


def _widths(frame: CCDData, detector: Detector) -> list[int]:
    spans = [section(a.data, frame.header)[1] for a in detector.amplifiers]
    return [span.stop - span.start for span in spans]


def _needed(name: str, image: CCDData | None) -> CCDData:
    if image is None:
        raise ValueError(f"there is no {name}: make one, or set use_{name}=false")
    return image

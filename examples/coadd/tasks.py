"""SuperTasks of coaddition.

All are declared but two: `VisitSummaryTask` groups in its `defineQuanta`, and `MergeTask` makes its
quanta by hand. Both could be declared too; the plans would be the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.nddata import CCDData, VarianceUncertainty
from astropy.table import Table, unique, vstack

from examples.coadd.attach import attach_solution, mid_time, solution_from_text
from examples.coadd.calibrate import astrometric_offset, match, moved, photometric_zero_point
from examples.coadd.catalogue import AB_ZERO_POINT, measure_patch, merge_patches
from examples.coadd.forced import forced_fluxes
from examples.coadd.measure import aperture_fluxes, centroids, find_stars, fit_sky, star_width, variance_of
from examples.coadd.patches import patch_grid
from examples.coadd.stack import stack
from examples.coadd.warp import warp_images
from examples.isr.correct import single_precision
from supertask import InputField, NoWork, OutputField, Quantum, Struct, SuperTask, SuperTaskConfig, field

__all__ = [
    "AttachConfig",
    "AttachTask",
    "CalibrateConfig",
    "CalibrateTask",
    "CatalogueConfig",
    "CatalogueTask",
    "CoaddConfig",
    "CoaddTask",
    "ForcedConfig",
    "ForcedTask",
    "LightCurveConfig",
    "LightCurveTask",
    "MergeConfig",
    "MergeTask",
    "VisitSummaryConfig",
    "VisitSummaryTask",
    "WarpConfig",
    "WarpTask",
]

FRAME = ("exposure", "detector")
IMAGE = ("visit", "detector")


class AttachConfig(SuperTaskConfig):
    """Configuration of `AttachTask`."""

    quantum_units = FRAME
    raw = InputField(FRAME, "fits_image", doc="Raw frame.")
    plate_solution = InputField(FRAME, "text", prerequisite=True, doc="WCS, a FITS header as text.")
    isr_image = OutputField(FRAME, "fits_image", doc="Image of the sky, ADU.")
    saturation: float = field(65535.0, doc="Value from which on a pixel is saturated.", unit="adu")
    gain: float | None = field(
        None, doc="For photon noise; the sky's noise is measured.", unit="electron/adu"
    )
    time_card: str = field("DATE-OBS", doc="Card with the UTC of the beginning of an exposure.")


class AttachTask(SuperTask):
    """Raw frame and plate solution → image of the sky."""

    ConfigClass = AttachConfig
    _DefaultName = "attach"

    def run(self, raw: CCDData, plate_solution: str) -> Struct:
        """Put a frame and its WCS together."""
        image = attach_solution(
            raw, solution_from_text(plate_solution), saturation=self.config.saturation, gain=self.config.gain
        )
        image.header["MJD-MID"] = (mid_time(raw.header, start=self.config.time_card).mjd, "middle, UTC")
        return Struct(isr_image=image)


class CalibrateConfig(SuperTaskConfig):
    """Configuration of `CalibrateTask`."""

    quantum_units = IMAGE
    isr_images = InputField(FRAME, "fits_image", name="isr_image", doc="Images of the visit's exposures.")
    refcat = InputField(
        "patch", "fits_table", minimum=0, prerequisite=True, doc="Reference stars: ra, dec, mag."
    )
    calexp = OutputField(IMAGE, "fits_image", doc="Image without sky, on the reference's zero points.")
    stars = OutputField(IMAGE, "fits_table", doc="Stars on it.")
    calibration = OutputField(IMAGE, "json", doc="What was measured of it.")
    sky_box: int = field(64, doc="Boxes for the sky.", unit="pix", min=8)
    fwhm: float = field(3.0, doc="Width of a star.", unit="pix", min=1.0)
    threshold: float = field(8.0, doc="Least significance of a star.", min=1.0)
    roundness: float = field(1.0, doc="How much stars may differ from round; 2 or 3 for trails.", min=0.0)
    radius: float = field(6.0, doc="Radius of apertures.", unit="pix", min=0.5)
    match_radius: float = field(3.0, doc="How far a star may be from its reference.", unit="arcsec", min=0.0)
    astrometric: bool = field(True, doc="Whether to move the WCS by the mean offset from reference stars.")
    photometric: bool = field(True, doc="Whether to bring fluxes to nJy by reference magnitudes.")
    minimum_stars: int = field(5, doc="Least number of reference stars for either.", min=1)


class CalibrateTask(SuperTask):
    """Images of a visit's exposures → image on one astrometric and photometric system."""

    ConfigClass = CalibrateConfig
    _DefaultName = "calibrate"

    def run(
        self, isr_images: Sequence[CCDData], refcat: Sequence[Table], dataId: Mapping[str, Any]
    ) -> Struct:
        """Calibrate one detector of a visit."""
        config = self.config
        image = _mean_of(isr_images)
        sky = fit_sky(image, box=config.sky_box, fwhm=config.fwhm)
        image.data = image.data - sky.level
        found = find_stars(
            image,
            fwhm=config.fwhm,
            threshold=config.threshold,
            noise=sky.noise,
            roundness=config.roundness,
        )
        x, y = centroids(image, found["x"], found["y"], fwhm=config.fwhm)
        stars = aperture_fluxes(image, x, y, radius=config.radius)
        stars.add_columns([x, y], names=["x", "y"], indexes=[0, 0])
        noted: dict[str, Any] = {
            "visit": dataId["visit"],
            "detector": dataId["detector"],
            "fwhm": star_width(image, x[stars["bad"] == 0], y[stars["bad"] == 0], guess=config.fwhm),
            "sky": float(np.median(sky.level)),
            "noise": float(np.median(sky.noise)),
            "n_stars": len(stars),
        }
        reference = _one_table(refcat)
        if reference is not None:
            if config.astrometric:
                image.wcs = self._astrometry(image, stars, reference, noted)
            if config.photometric:
                image = self._photometry(image, stars, reference, noted)
        stars["ra"], stars["dec"] = (
            image.wcs.all_pix2world(stars["x"], stars["y"], 0) if len(stars) else (x, y)
        )
        image.meta = _short_header(isr_images[0].header, image.header)
        return Struct(calexp=single_precision(image), stars=stars, calibration=noted)

    def _astrometry(self, image: CCDData, stars: Table, reference: Table, noted: dict[str, Any]) -> Any:
        wcs = image.wcs
        pairs = match(_sky(wcs, stars), _coordinates(reference), self.config.match_radius)
        offset = astrometric_offset(pairs, minimum=self.config.minimum_stars)
        if offset is not None:
            wcs = moved(wcs, *offset)
            pairs = match(_sky(wcs, stars), _coordinates(reference), self.config.match_radius)
            noted |= {"east": offset[0], "north": offset[1]}
        noted["n_astrometric"] = len(pairs)
        if len(pairs):
            noted["astrometric_rms"] = float(np.sqrt(np.mean(pairs.east**2 + pairs.north**2)))
        return wcs

    def _photometry(self, image: CCDData, stars: Table, reference: Table, noted: dict[str, Any]) -> CCDData:
        pairs = match(_sky(image.wcs, stars), _coordinates(reference), self.config.match_radius)
        band_mag = _magnitudes(reference, image.header)
        zero = photometric_zero_point(stars, band_mag, pairs, minimum=self.config.minimum_stars)
        if zero is None:
            raise NoWork(f"fewer than {self.config.minimum_stars} reference stars, so there is no zero point")
        noted |= {"zero_point": zero.value, "zero_point_error": zero.error, "n_photometric": zero.n}
        factor = 10 ** (-0.4 * (zero.value - AB_ZERO_POINT))
        for name in ("flux", "flux_err", "peak"):
            stars[name] *= factor
        return CCDData(
            image.data * factor,
            unit=u.nJy,
            uncertainty=VarianceUncertainty(variance_of(image) * factor**2),
            mask=image.mask,
            wcs=image.wcs,
            meta=image.header,
        )


class VisitSummaryConfig(SuperTaskConfig):
    """Configuration of `VisitSummaryTask`."""

    quantum_units = ("visit",)
    calibrations = InputField(IMAGE, "json", name="calibration", doc="What was measured of each detector.")
    visit_summary = OutputField("visit", "ecsv", doc="A row for each detector.")


class VisitSummaryTask(SuperTask):
    """What was measured of a visit's detectors → one table. Its quanta are grouped."""

    ConfigClass = VisitSummaryConfig
    _DefaultName = "visit_summary"

    def defineQuanta(self, repoGraph: Any) -> Sequence[Quantum]:
        """Group the detectors by visit."""
        config = self.config
        quanta: Sequence[Quantum] = repoGraph.group(config.calibrations, "visit").produce(
            config.visit_summary
        )
        return quanta

    def run(self, calibrations: Sequence[Mapping[str, Any]]) -> Struct:
        """Put the rows together; what a detector lacks is masked."""
        return Struct(visit_summary=Table(rows=list(calibrations)))


class WarpConfig(SuperTaskConfig):
    """Configuration of `WarpTask`."""

    quantum_units = ("visit", "patch")
    calexps = InputField(
        IMAGE, "fits_image", name="calexp", doc="Images of the visit that overlap the patch."
    )
    sky_map = InputField("skymap", "text", prerequisite=True, doc="The sky map, as YAML.")
    visit_summary = InputField("visit", "ecsv", minimum=0, doc="What is known of the visit.")
    warp = OutputField(("visit", "patch"), "fits_image", doc="The visit on the pixels of the patch.")
    order: str = field("bilinear", doc="Interpolation.", choices=("nearest-neighbor", "bilinear", "bicubic"))
    max_fwhm: float | None = field(None, doc="Visits of worse seeing are left out.", unit="pix")


class WarpTask(SuperTask):
    """Images of a visit → one image on the pixels of a patch."""

    ConfigClass = WarpConfig
    _DefaultName = "warp"

    def run(
        self,
        calexps: Sequence[CCDData],
        sky_map: str,
        visit_summary: Table | None,
        dataId: Mapping[str, Any],
    ) -> Struct:
        """Warp what overlaps."""
        limit = self.config.max_fwhm
        if limit is not None and visit_summary is not None and not np.median(visit_summary["fwhm"]) <= limit:
            raise NoWork(f"visit {dataId['visit']} has a seeing of more than {limit} pixels")
        patch = patch_grid(sky_map, dataId)
        warp = warp_images(calexps, patch, order=self.config.order)
        if warp is None:
            raise NoWork("no pixel of the visit is on the patch: only its outline overlaps")
        self.metadata["coverage"] = float(1 - warp.mask.mean())
        return Struct(warp=warp)


class CoaddConfig(SuperTaskConfig):
    """Configuration of `CoaddTask`."""

    quantum_units = ("patch", "band")
    warps = InputField(
        ("visit", "patch"), "fits_image", name="warp", doc="Visits on the pixels of the patch."
    )
    coadd = OutputField(("patch", "band"), "fits_image", doc="Their mean, with variance.")
    coadd_depth = OutputField(("patch", "band"), "fits_image", doc="Visits that went into each pixel, int16.")
    sigma: float = field(5.0, doc="Where values are clipped, in standard deviations.", min=1.0)
    tolerance: float = field(
        0.7, doc="By which part of the largest median around a value may differ besides.", min=0.0
    )
    inverse_variance: bool = field(True, doc="Whether visits are weighted by their noise.")


class CoaddTask(SuperTask):
    """Warps of a patch in a band → coadd."""

    ConfigClass = CoaddConfig
    _DefaultName = "coadd"

    def run(self, warps: Sequence[CCDData], dataId: Mapping[str, Any]) -> Struct:
        """Stack."""
        config = self.config
        made = stack(
            warps, sigma=config.sigma, tolerance=config.tolerance, inverse_variance=config.inverse_variance
        )
        made.image.header["BAND"] = dataId["band"]
        made.image.header["NVISITS"] = len(warps)
        clipped = float((made.coverage - made.depth).sum() / max(made.coverage.sum(), 1))
        self.metadata["clipped_fraction"] = clipped
        depth = CCDData(made.depth, unit=u.dimensionless_unscaled, wcs=made.image.wcs)
        return Struct(coadd=made.image, coadd_depth=depth)


class CatalogueConfig(SuperTaskConfig):
    """Configuration of `CatalogueTask`."""

    quantum_units = ("patch",)
    coadds = InputField(("patch", "band"), "fits_image", name="coadd", doc="Coadds of all bands.")
    sky_map = InputField("skymap", "text", prerequisite=True, doc="The sky map, as YAML.")
    patch_catalogue = OutputField("patch", "fits_table", doc="Sources, measured in all bands.")
    fwhm: float = field(3.0, doc="Width of a star.", unit="pix", min=1.0)
    threshold: float = field(5.0, doc="Least significance of a source in all bands together.", min=1.0)
    radius: float = field(6.0, doc="Radius of apertures.", unit="pix", min=0.5)
    annulus: tuple[float, float] | None = field(
        None, doc="Ring for the sky around a source; none where the sky is 0.", unit="pix"
    )


class CatalogueTask(SuperTask):
    """Coadds of all bands of a patch → catalogue."""

    ConfigClass = CatalogueConfig
    _DefaultName = "catalogue"

    def run(self, coadds: Sequence[CCDData], sky_map: str, dataId: Mapping[str, Any]) -> Struct:
        """Find sources in white light and measure them in each band."""
        config = self.config
        table = measure_patch(
            {c.header["BAND"]: c for c in coadds},
            patch_grid(sky_map, dataId),
            fwhm=config.fwhm,
            threshold=config.threshold,
            radius=config.radius,
            annulus=config.annulus,
            number=int(dataId["patch"]),
        )
        self.metadata["sources"] = len(table)
        return Struct(patch_catalogue=table)


class MergeConfig(SuperTaskConfig):
    """Configuration of `MergeTask`."""

    quantum_units = ("tract",)
    patch_catalogues = InputField("patch", "fits_table", name="patch_catalogue", doc="Catalogues of patches.")
    catalogue = OutputField("tract", "fits_table", doc="Sources of the tract, each once.")


class MergeTask(SuperTask):
    """Catalogues of patches → catalogue of the tract. Its quanta are made by hand."""

    ConfigClass = MergeConfig
    _DefaultName = "merge"

    def defineQuanta(self, repoGraph: Any) -> Sequence[Quantum]:
        """Make one quantum for each tract, in plain Python."""
        patch_type, tract_type = self.config.patch_catalogues, self.config.catalogue
        by_tract: dict[Any, set[Any]] = {}
        for dataset in repoGraph.datasets[patch_type]:
            by_tract.setdefault((dataset["skymap"], dataset["tract"]), set()).add(dataset)
        quanta = []
        for (skymap, tract), patches in sorted(by_tract.items()):
            merged = repoGraph.addDataset(tract_type(skymap=skymap, tract=tract))
            quanta.append(Quantum({patch_type: patches}, {tract_type: {merged}}))
        return quanta

    def run(self, patch_catalogues: Sequence[Table]) -> Struct:
        """Put patches together."""
        return Struct(catalogue=merge_patches(patch_catalogues))


class ForcedConfig(SuperTaskConfig):
    """Configuration of `ForcedTask`."""

    quantum_units = IMAGE
    calexp = InputField(IMAGE, "fits_image", doc="Image of a visit.")
    targets = InputField(
        "patch", "fits_table", name="patch_catalogue", doc="Where to measure: ra, dec, source."
    )
    forced = OutputField(IMAGE, "fits_table", doc="Fluxes at the positions of targets.")
    radius: float = field(6.0, doc="Radius of apertures.", unit="pix", min=0.5)
    annulus: tuple[float, float] | None = field(None, doc="Ring for the sky around a target.", unit="pix")
    recentre: float = field(
        0.0, doc="Width of a star, to find its centre again; 0 to trust the WCS.", unit="pix", min=0.0
    )


class ForcedTask(SuperTask):
    """Image of a visit and positions → fluxes at these positions."""

    ConfigClass = ForcedConfig
    _DefaultName = "forced"

    def run(self, calexp: CCDData, targets: Sequence[Table], dataId: Mapping[str, Any]) -> Struct:
        """Measure all targets that are on the image."""
        config = self.config
        table = forced_fluxes(
            calexp,
            _one_table(targets),
            radius=config.radius,
            annulus=config.annulus,
            recentre=config.recentre,
        )
        table["visit"] = np.full(len(table), dataId["visit"], dtype=np.int64)
        table["detector"] = np.full(len(table), dataId["detector"], dtype=np.int64)
        table["mjd"] = np.full(len(table), calexp.header.get("MJD-MID", np.nan), dtype=float)
        return Struct(forced=table)


class LightCurveConfig(SuperTaskConfig):
    """Configuration of `LightCurveTask`."""

    quantum_units = ("tract",)
    forced = InputField(IMAGE, "fits_table", doc="Fluxes in each image of a visit.")
    light_curves = OutputField("tract", "fits_table", doc="Fluxes of all visits, by source and time.")


class LightCurveTask(SuperTask):
    """Forced fluxes of all visits → light curves."""

    ConfigClass = LightCurveConfig
    _DefaultName = "light_curve"

    def run(self, forced: Sequence[Table]) -> Struct:
        """Sort all fluxes by source and time."""
        table = vstack([t for t in forced if len(t)] or list(forced[:1]), metadata_conflicts="silent")
        table.sort(["source", "mjd", "visit", "detector"])
        return Struct(light_curves=table)


def _mean_of(images: Sequence[CCDData]) -> CCDData:
    """Return the mean of a visit's exposures; mostly there is one."""
    first = images[0]
    if len(images) == 1:
        return first.copy()
    masks = [np.zeros(i.shape, bool) if i.mask is None else i.mask for i in images]
    variance = np.sum([variance_of(i) for i in images], axis=0) / len(images) ** 2
    return CCDData(
        np.mean([i.data for i in images], axis=0),
        unit=first.unit,
        uncertainty=VarianceUncertainty(variance),
        mask=np.any(masks, axis=0),
        wcs=first.wcs,
        meta=first.header.copy(),
    )


def _short_header(raw: Mapping[str, Any], image: Mapping[str, Any]) -> fits.Header:
    """Return the few cards that later steps and people look for."""
    header = fits.Header()
    for card in ("OBJECT", "FILTER", "EXPTIME", "DATE-OBS", "AIRMASS"):
        if card in raw:
            header[card] = raw[card]
    if "MJD-MID" in image:
        header["MJD-MID"] = image["MJD-MID"]
    elif "DATE-OBS" in raw and "EXPTIME" in raw:
        header["MJD-MID"] = (mid_time(raw).mjd, "middle, UTC")
    return header


def _one_table(tables: Sequence[Table]) -> Table | None:
    """Return the rows of several tables, each once: stars near a seam are in the tables of both patches."""
    filled = [t for t in tables if len(t)]
    if not filled:
        return tables[0] if tables else None
    table = vstack(filled, metadata_conflicts="silent")
    return unique(table, keys=["ra", "dec"]) if len(filled) > 1 else table


def _coordinates(table: Table) -> SkyCoord:
    return SkyCoord(u.Quantity(table["ra"], u.deg), u.Quantity(table["dec"], u.deg))


def _sky(wcs: Any, stars: Table) -> SkyCoord:
    if not len(stars):
        return SkyCoord([], [], unit="deg")
    ra, dec = wcs.all_pix2world(stars["x"], stars["y"], 0)
    return SkyCoord(ra, dec, unit="deg")


def _magnitudes(reference: Table, header: Mapping[str, Any]) -> Table:
    """Return the reference with a column mag: of the image's filter, where it has one for each."""
    name = f"mag_{header.get('FILTER', '')}".strip()
    if name in reference.colnames and "mag" not in reference.colnames:
        reference = reference.copy()
        reference["mag"] = reference[name]
    return reference

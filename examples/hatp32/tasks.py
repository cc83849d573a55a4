"""The last step: light curves → transit."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import Table

from examples.hatp32.transit import barycentric_jd, choose_comparisons, fit_transit, relative_flux, site
from supertask import InputField, NoWork, OutputField, Struct, SuperTask, SuperTaskConfig, field

__all__ = ["TransitConfig", "TransitTask"]


class TransitConfig(SuperTaskConfig):
    """Configuration of `TransitTask`; the defaults are for HAT-P-32 at Whipple Observatory."""

    quantum_units = ("tract",)
    light_curves = InputField("tract", "fits_table", doc="Fluxes of all frames, by source and time.")
    refcat = InputField("patch", "fits_table", prerequisite=True, doc="The stars that were measured.")
    transit = OutputField("tract", "json", doc="The fit.")
    transit_curve = OutputField("tract", "ecsv", doc="Times, relative fluxes and the fit.")
    ra: float = field(31.04276, doc="Right ascension of the star.", unit="deg")
    dec: float = field(46.68783, doc="Declination of the star.", unit="deg")
    longitude: float = field(-110.88, doc="Of the telescope, east.", unit="deg")
    latitude: float = field(31.68, doc="Of the telescope.", unit="deg")
    height: float = field(1268.0, doc="Of the telescope above the sea.", unit="m")
    guess: float = field(2458107.71, doc="About the middle of the transit, BJD.", unit="d")
    saturation: float = field(3600.0, doc="Stars whose peaks reach it are not compared with.", unit="adu")


class TransitTask(SuperTask):
    """Light curves → transit of a planet."""

    ConfigClass = TransitConfig
    _DefaultName = "transit"

    def run(self, light_curves: Table, refcat: list[Table]) -> Struct:
        """Compare the target with its neighbours and fit."""
        config = self.config
        position = SkyCoord(config.ra * u.deg, config.dec * u.deg)
        target = self._target(position, refcat)
        comparisons = choose_comparisons(light_curves, target, saturation=config.saturation)
        mjd, flux = relative_flux(light_curves, target, comparisons)
        if len(mjd) < 6:
            raise NoWork(f"the target is in {len(mjd)} frames, too few to fit a transit to")
        bjd = barycentric_jd(mjd, position, site(config.longitude, config.latitude, config.height))
        transit, fitted = fit_transit(bjd, flux, guess=config.guess, comparisons=comparisons)
        curve = Table({"bjd_tdb": bjd, "flux": flux, "fit": fitted})
        curve["bjd_tdb"].unit = "d"
        noted: dict[str, Any] = attrs.asdict(transit) | {"target": target, "comparisons": list(comparisons)}
        return Struct(transit=noted, transit_curve=curve)

    @staticmethod
    def _target(position: SkyCoord, refcat: list[Table]) -> int:
        stars = [row for table in refcat for row in table]
        there = SkyCoord([row["ra"] for row in stars], [row["dec"] for row in stars], unit="deg")
        nearest = int(np.argmin(there.separation(position)))
        return int(stars[nearest]["source"])

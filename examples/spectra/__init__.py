"""Spectra of stars and galaxies: SDSS's products, their noise, their continuum.

- `products`: SDSS's data products by name: paths ↔ what they say, dataset types; `sdss_tree.yaml` has them.
- `rows`: the combined spectrum and the visits of an apStar; which visits SDSS combines; their mean.
- `snr`: signal to noise of spectra.
- `continuum`: continua by weighted least squares: polynomials, sines and cosines, a scalar.
- `cannon`, `payne`: models of stellar spectra and fits with them, as functions.
- `tasks`: the first four as SuperTasks; `pipeline.yaml` and `spec_pipeline.yaml` put them together.
- `stellar`: fits with these models as SuperTasks, on stars that are normalised; `stellar_pipeline.yaml`.
- `stars`: the fit as the last step from ingested spectra on; `stars_pipeline.yaml` is all of it.
- `apogee_headers.yaml`, `spec_headers.yaml`: which cards give which units, for ingest.

Files are read by the storage format ``spectrum``.
"""

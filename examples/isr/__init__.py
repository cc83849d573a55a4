"""Instrument signature removal: from raw frames to images that show the sky.

- `camera`: what must be known of a camera; `kast_blue.yaml` and others beside it are such descriptions.
- `readout`: raw frame → one image without overscan, with saturated pixels masked.
- `calibrations`: frames → master bias, dark and flat.
- `correct`: image and master calibrations → corrected image with its variance.
- `transfer`: gain and read noise measured from flats and biases.
- `tasks`: all of it as SuperTasks; `pipeline.yaml` puts them together.
"""

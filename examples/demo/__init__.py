"""The demonstration: a small survey with known truth, from raw frames to a catalogue that is held against it.

- `sky`: the stars that there are. `survey`: which exposures are taken, and when. `detector`: what a detector
  makes of light. `simulate` puts them together and writes raw frames as FITS.
- `compare`: what was recovered against the truth. `pictures`: both for the eye.
- `stage` is what simulated and real ones do alike (`simulated`, `real`); `run`: ``supertask demo``.
"""

"""Typed, documented, immutable configurations.

`config` is what users see; `fields` and `classes` say how fields are declared, `base` how values are checked,
laid over each other and compared, `overrides` how they are written as text, `grids` how many come of one.
`callers` notes which line set a value. `policy` is what to do about failures, as data; `identities` and
`sources` say what makes two configurations or tasks the same.
"""

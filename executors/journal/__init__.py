"""Remember a run: what came of every attempt, written before it counts, and read back.

`runfolder` is where a run keeps things, `lease` and `locks` say who may drive it, `journal` is what is
written, with `lines` on their way to it. `replay` and `index` read it, `report`, `times`, `bundlerecords` and
`failedbefore` say what it tells; `plankeeping` keeps the plans that the run was made by.
"""

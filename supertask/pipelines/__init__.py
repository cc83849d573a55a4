"""Tasks in order: in Python, and in files that keep their comments.

`pipeline` is what users see, `taskdefs` a task in it, `parts` what else it holds: `parameters`, `contracts`,
`dataoverrides` (those of a camera come from `cameraoverrides`), `overrides` as text. `files` reads, `schema`
checks the shape, `writing` and `edits` write; `checks` and `overridechecks` find what is wrong,
`construction` makes the tasks.
"""

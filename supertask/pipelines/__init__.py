"""Tasks in order: in Python, and in files that keep their comments.

`pipeline` is what users see, and `sections` what stands in it: `taskdefs` a task, `parts` what else it holds:
`parameters`, `contracts`, `retention`, `dataoverrides` (those of a camera come from `cameraoverrides`),
`overrides` as text. `files` reads, `schema` checks the shape, `writing` and `edits` write; `checks` and
`overridechecks` find what is wrong, `construction` makes the tasks.
"""

"""What a task reads and writes, as fields of its configuration.

`fields` are dataset types, `inputlookups` say which datasets are meant where units alone do not,
`dependencies` are datasets that are waited for and not read.
"""

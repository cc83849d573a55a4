"""Storage formats: how a value becomes a file and a file becomes a value.

`port` says what a format promises, `find` gives one by its name, and every other module is an
adapter. Third parties offer formats through the entry point group ``supertask.formats``; all pass
`supertask.testing.formats.FormatContract`.
"""

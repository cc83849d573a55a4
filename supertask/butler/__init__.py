"""The data repository: what holds datasets, and knows what they are.

- `port` says what every Butler promises; `handles` and `querying` take arguments apart and put
  answers together for all of them.
- `repository` is the Butler of a folder: a `registry` (a database) and a `datastore` (files, at paths
  that `templates` work out; `content` says what checksums and identities are; `layout` reads the
  root's ``supertask.yaml``).
- `limited` is what a task sees while a quantum runs: its datasets and no database.
- `memory` (with `memorycontents` and `memoryreader`) is a model in plain dicts that the others are
  tested against; `unitvalues` checks what is given for units, for every Butler.
"""

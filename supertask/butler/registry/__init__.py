"""The registry: what a repository knows, in a database, through SQLAlchemy Core.

- `schema` lays out the tables; `backend` says what differs between databases, `sqlite` is one.
- `database` gives transactions; `catalog` keeps dataset types and collections at hand.
- `unitrows`, `datasetrows` write and look up; `sql` turns conditions into bound SQL, `selection`
  and `columns` read what they admit, and `reader` puts that together for preflight.
- `registry` is the front: one object with a method for each promise of the Butler.
"""

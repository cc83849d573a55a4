"""Listeners that ship: who wants to know of a run without sitting in front of it.

- `metrics`: a text file that Prometheus' node exporter picks up.
- `progressfile`: what tasks say of their progress, for ``supertask status``.
- `notify`: tells a command or a web address when something fails and when the run ends.

They are called by the one event stream of `executors.events`, like anybody's own.
"""

"""Contract suites and helpers for those who write Butlers, storage formats and tasks of their own.

Each suite is a pytest class to derive from: `butler.ButlerContract`, `formats.FormatContract`.
They need the packages of the extra ``dev`` (pytest, hypothesis), and nothing else here imports them.
"""

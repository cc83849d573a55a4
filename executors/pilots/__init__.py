"""Pilots: long jobs of an engine whose warm workers take one bundle after another.

For thousands of short bundles an engine's own cost for each job, and the start of Python, are what takes the
time. A pilot pays both once.

- `queue`: orders in a folder that driver and pilots see, claimed by renaming: no server, no port;
- `pilot`: the program of a pilot.
"""

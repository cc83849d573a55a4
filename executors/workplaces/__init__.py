"""Have files where quanta can reach them: on a local disk, in memory, or in the repository.

`scratch` is a folder that belongs to one process, `workplace` a repository's files as seen there.
"""

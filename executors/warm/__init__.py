"""A process that is warm: it runs one job after another, and keeps what is dear to make.

Imports, tasks and overheads are made once, where a job of its own would make them anew. Whoever has many
short jobs to run (a pilot on a node, a worker of another engine) keeps such children.

- `child`: the child as its parent sees it; imports nothing but the standard library;
- `process`: what runs in it.
"""

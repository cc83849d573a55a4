"""What two runs do not share, and how far their data differ: a change of one line, judged in one go.

- `values`: what is told of it.
- `data`: pairs the datasets of two runs and compares those whose identity differs, by storage format.
- `runs`: the whole: `compare_runs`, with configs, code, software, inputs, counts and times.
"""

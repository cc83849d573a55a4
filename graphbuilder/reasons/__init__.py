"""Reasons: what an expression selects, which inputs a quantum lacks, and what would come nearest.

- `nearest`: of the values that are there, those that come nearest to what a condition asks for;
- `selection`: what each condition of an expression leaves, and which one leaves nothing;
- `links`: by which units, relation or time an input belongs to a quantum;
- `inputs`: which inputs a quantum would have needed and does not have, and why;
- `timely`: why an input that is looked up by time was not found;
- `lookup`: what the repository knows of the units that a data ID names;
- `missing`: why a quantum is not in a plan, answered in `verdicts`;
- `course`: where a plan's quanta came from and went, step by step;
- `emptyplan`: what is said of a plan that came out empty.
"""

from __future__ import annotations

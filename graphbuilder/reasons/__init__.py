"""Reasons: what an expression selects, which inputs a quantum lacks, and what would come nearest.

- `nearest`: of the values that are there, those that come nearest to what a condition asks for;
- `selection`: what each condition of an expression leaves, and which one leaves nothing;
- `links`: by which units, relation or time an input belongs to a quantum;
- `inputs`: which inputs a quantum would have needed and does not have, and why.
"""

from __future__ import annotations

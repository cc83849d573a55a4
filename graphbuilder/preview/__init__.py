"""The preflight report: what a plan will read, write and cost, and what in it looks amiss.

- `costs`: what quanta cost in earlier runs, as a small record that runs export and planners read;
- `sizes`: bytes of datasets, known or estimated;
- `cautions`: what a person should look at before the plan is run;
- `report` puts these together;
- `graph` is the plan as tasks and dataset types, with its text forms Mermaid and Graphviz; `layout` places
  it and `pictures` draws it; `skyview` shows where on the sky the quanta are.
"""

from __future__ import annotations

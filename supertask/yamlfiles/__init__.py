"""YAML, with places: `nodes` are values that know where they were read, `text` reads and writes."""

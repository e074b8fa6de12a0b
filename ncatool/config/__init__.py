"""Settings: what there is to choose, in which ranges, and how files, environment and flags are merged. No torch."""

"""A grid of training runs: its plan, its folder, and its workers (local processes, one GPU or a Dask cluster)."""

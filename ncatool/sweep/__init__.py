"""A grid of training runs: its plan, its folder, and the workers that train it here, on one GPU or on a Dask cluster."""

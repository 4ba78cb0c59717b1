"""Parallel tasks: here, on a Dask cluster, on several GPUs."""

"""Sweeps of many runs, on one machine, on a Ray cluster or by any scheduler, and a report of the results."""

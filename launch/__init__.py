"""Many runs: sweeps on one machine, on a Ray cluster or by any scheduler, and one report of their results."""

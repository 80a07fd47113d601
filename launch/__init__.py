"""Many runs: sweeps on one machine, a Ray cluster or any scheduler, and their results in one report."""

"""Several worlds, every method tuned alike, claims with verdicts."""

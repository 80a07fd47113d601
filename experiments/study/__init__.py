"""A study: several worlds, the same tuning budget for every method, and tests of the paper's claims."""

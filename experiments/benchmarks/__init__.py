"""The suites of `python -m experiments.benchmark`. Each case of a suite runs in a separate process."""

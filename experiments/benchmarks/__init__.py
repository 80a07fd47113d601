"""What `python -m experiments.benchmark` measures: suites of cases, each case in a process of its own."""

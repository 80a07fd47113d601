"""Preference labels from a causal language model; torch lives in the worker process alone."""

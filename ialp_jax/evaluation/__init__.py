"""Metrics of learning curves and their statistics."""

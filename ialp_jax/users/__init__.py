"""User models: how likely each user likes each item, fitted to interactions, calibrated and validated."""

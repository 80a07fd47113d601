"""Our worlds under agents of others."""

"""Labels on disk: addressed by content, verified by hash."""

"""The loop between agents and users, offline and online."""

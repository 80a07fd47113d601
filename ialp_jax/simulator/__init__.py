"""Simulated users: the model of their taste, the dynamics of their sessions, the environment."""

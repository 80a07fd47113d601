"""The three ways to ask, and what makes an answer a label."""

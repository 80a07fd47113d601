"""From histories and candidates to text and token blocks; no torch."""

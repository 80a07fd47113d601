"""The causal language model: its files, loading, adapters, memory; and the small one that is trained here."""

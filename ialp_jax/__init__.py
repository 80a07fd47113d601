"""iALP in JAX: LLM-distilled recommender policies, pre-trained offline and adapted online."""

__version__ = "0.1.0"

"""Settings of the networks."""

import dataclasses

from ialp_jax.errors import InputError


@dataclasses.dataclass(unsafe_hash=True)  # flax hashes a network by its attributes
class NetworkConfig:
    """The state encoder, the same for every agent.

    Attributes:
      width: D, the length of item vectors and of states.
      blocks: Transformer blocks of SASRec.
      heads: attention heads; divides ``width``.
      dropout: rate while training the supervised SASRec; agents that learn by reward use none.
        0, or from 1/256 to 255/256 in steps of 1/256.
    """

    width: int = 64
    blocks: int = 2
    heads: int = 2
    dropout: float = 0.2

    def check(self) -> None:
        """Raises InputError for settings that cannot work."""
        if min(self.width, self.blocks, self.heads) < 1 or self.width % self.heads:
            raise InputError(
                f"--config.network.heads={self.heads} must divide --config.network.width={self.width}, "
                "and both and .blocks be at least 1"
            )
        if self.dropout and not 1 / 256 <= self.dropout <= 255 / 256:
            raise InputError(
                f"--config.network.dropout={self.dropout} must be 0 or between 1/256 and 255/256: "
                "it is rounded to steps of 1/256"
            )

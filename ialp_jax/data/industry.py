"""Amazon 2018 "Industrial and Scientific", in the files of its publisher or of UniSRec.

J. Ni, J. Li, J. McAuley. Justifying Recommendations using Distantly-Labeled Reviews and Fine-Grained
Aspects. EMNLP 2019. If both are present, we use UniSRec's files, which have neither ratings nor times.
"""

from __future__ import annotations

from ialp_jax.data import amazon, unisrec
from ialp_jax.data.assemble import assemble
from ialp_jax.data.config import DataConfig
from ialp_jax.data.locate import locate
from ialp_jax.types import Dataset


def load(config: DataConfig) -> Dataset:
    """Reads UniSRec's files (8,442 users, 4,385 items, 59,427 rows) or the publisher's 5-core reviews.

    In the publisher's files, a review of at least ``config.like_at`` stars is a like. In UniSRec's files,
    every row is a like.

    Raises:
      InputError: a file is missing or malformed.
    """
    folder, form = locate(config, unisrec.UNISREC, *amazon.REVIEWS)
    rows, items, dropped = (unisrec if form is unisrec.UNISREC else amazon).read(folder, form.files)
    return assemble(config, rows, items, ordered=True, dropped=dropped)

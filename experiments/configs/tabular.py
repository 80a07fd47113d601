"""Your own data, every method.

python -m experiments.main --config=experiments/configs/tabular.py --config.data.root=FOLDER

FOLDER holds two CSV files (or Parquet: --config.data.tabular.interactions=NAME.parquet):

    interactions.csv    user_id,item_id[,rating][,timestamp]    one row says that a user met an item
    items.csv           item_id,title[,category]                one row for each item

Ids are any text. A rating is a finite number, a like from --config.data.like_at (4) on; without ratings every
row is a like. A timestamp is a number or an ISO 8601 date; without timestamps the order of the file is the
order of time. Further columns are ignored; other names, separators and encodings: --config.data.tabular.*.
--config.data.min_users=5 drops items with fewer than 5 users; it is off.

50,000 ratings of 5,000 items by 607 users take 15 minutes on 2 CPU cores. The small Mistral is the
quickstart's; larger logs bear --config.llm.embedded.hidden=128 --config.llm.embedded.steps=6000.
Look at the audit first: labels that are no better than popularity will not teach a better policy.
"""

from experiments.config import Config


def get_config() -> Config:
    """Sizes as in the data, 3 seeds."""
    config = Config(name="tabular")
    config.data.name = "tabular"
    return config

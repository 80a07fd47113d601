"""Your own data, every method.

python -m experiments.main --config=experiments/configs/tabular.py --config.data.root=FOLDER

FOLDER contains two tables. Each table is a CSV, CSV.gz or Parquet file, or a folder of such files, as Spark
writes them. Other file names: --config.data.tabular.interactions=NAME, --config.data.tabular.items=NAME.

    interactions.csv    user_id,item_id[,rating][,timestamp]    one row per interaction of a user with an item
    items.csv           item_id,title[,category]                one row per item

Columns are found by name; case and punctuation do not matter (userId, "User ID"). Other names, separators and
encodings: --config.data.tabular.*. The data stage lists the columns that it ignores.
- Ids can be any text; an id must be written in the same way in both files.
- A rating is a finite number; ratings of at least --config.data.like_at (default 4) are likes.
- Without ratings, every row is a like.
- Timestamps are numbers or ISO 8601 dates. Without timestamps, the order of the rows is the order of time.
- An item may have several categories: "Action|Drama", or a list in Parquet.
- If several items have the same title, their categories or ids are added to the titles;
  --config.data.tabular.tell_apart=year adds the year instead.
- --config.data.min_users=5 drops items with fewer than 5 users; by default no item is dropped.
- A file of more than 50 million rows gives an error; --config.data.tabular.most_rows raises the limit.

A data set of 50,000 ratings, 5,000 items and 607 users takes 15 minutes on 2 CPU cores. The small Mistral is
as large as in the quickstart; for larger logs use --config.llm.embedded.hidden=128
--config.llm.embedded.steps=6000. Look at the audit first: if the labels are not better than popularity, they
do not help to train a better policy.
"""

from experiments.config import Config


def get_config() -> Config:
    """The users and items of the tables, 3 seeds."""
    config = Config(name="tabular")
    config.data.name = "tabular"
    return config

"""Your own data, every method.

python -m experiments.main --config=experiments/configs/tabular.py --config.data.root=FOLDER

FOLDER holds two tables. Each is a CSV, a CSV.gz, a Parquet file, or a folder of such files as Spark writes it
(--config.data.tabular.interactions=NAME, --config.data.tabular.items=NAME):

    interactions.csv    user_id,item_id[,rating][,timestamp]    one row says that a user met an item
    items.csv           item_id,title[,category]                one row for each item

Columns are found by name; case and signs may differ (userId, "User ID"). Other names, separators and
encodings: --config.data.tabular.*. The data stage lists the columns that it does not read.
Ids are any text, written alike in both files. A rating is a finite number, a like from --config.data.like_at
(4) on; without ratings every row is a like. Timestamps are numbers or ISO 8601 dates; without them the order
of the file is the order of time. An item may have several categories: "Action|Drama", or a list in Parquet.
Items with the same title get their categories or their id added to it; to add the year instead:
--config.data.tabular.tell_apart=year. --config.data.min_users=5 drops items with fewer than 5 users; off.
A file of more than 50 million rows is refused, unless --config.data.tabular.most_rows is raised.

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

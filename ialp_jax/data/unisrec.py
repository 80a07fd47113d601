"""Reads the data set "Scientific" in the files of UniSRec (Hou et al., KDD 2022).

Each row of ``*.inter`` has a target item of a user and at most 50 items before it. The target is the user's
last item in ``*.test.inter``, the item before it in ``*.valid.inter``, and each earlier item in
``*.train.inter``. ``*.item2index`` maps product numbers to item numbers. ``*.text`` has the text
"title. categories. brand." of each product. The categories start with the root category, and spaces separate
them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ialp_jax.data.amazon import ROOT_CATEGORY, readable_title
from ialp_jax.data.assemble import Items, Rows, numbered
from ialp_jax.data.locate import Published
from ialp_jax.data.tables import rows, whole_number
from ialp_jax.errors import InputError

PARTS = ("train", "valid", "test")
UNISREC = Published(
    folder="amazon_industrial_unisrec",
    files=(*(f"Scientific.{part}.inter" for part in PARTS), "Scientific.item2index", "Scientific.text"),
    source="https://github.com/ysh-1998/CoWPiRec (dataset/Scientific)",
)
DEPARTMENTS = (  # the publisher's categories directly below the root category
    "Abrasive & Finishing Products",
    "Additive Manufacturing Products",
    "Commercial Door Products",
    "Cutting Tools",
    "Fasteners",
    "Filtration",
    "Food Service Equipment & Supplies",
    "Hydraulics, Pneumatics & Plumbing",
    "Industrial Electrical",
    "Industrial Hardware",
    "Industrial Power & Hand Tools",
    "Janitorial & Sanitation Supplies",
    "Lab & Scientific Products",
    "Material Handling Products",
    "Occupational Health & Safety Products",
    "Packaging & Shipping Supplies",
    "Power Transmission Products",
    "Professional Dental Supplies",
    "Professional Medical Supplies",
    "Raw Materials",
    "Retail Store Fixtures & Equipment",
    "Robotics",
    "Science Education",
    "Tapes, Adhesives & Sealants",
    "Test, Measure & Inspect",
)

Window = tuple[str, int]  # file and line of a row, and the target item of this row


def _windows(paths: Sequence[Path], num_items: int) -> tuple[dict[int, dict[tuple[int, ...], Window]], int]:
    """Returns user -> history -> window, and the maximum length of a history."""
    header = ("user_id:token", "item_id_list:token_seq", "item_id:token")
    users: dict[int, dict[tuple[int, ...], Window]] = {}
    for path in paths:
        for place, (name, history, target) in rows(path, header, "ascii"):
            items = [whole_number(text, place, "item") for text in (*history.split(" "), target)]
            if max(items) >= num_items:
                raise InputError(f"{place}: item {max(items)} is not in the item2index file")
            windows = users.setdefault(whole_number(name, place, "user_id"), {})
            if tuple(items[:-1]) in windows:
                raise InputError(f"{place}: user {name} has the same history twice")
            windows[tuple(items[:-1])] = place, items[-1]
    return users, max((len(history) for windows in users.values() for history in windows), default=0)


def whole_sequence(windows: dict[tuple[int, ...], Window], cut: int) -> list[int]:
    """Rebuilds the sequence of one user's items from windows whose histories have at most ``cut`` items.

    The sequence starts with the shortest history. Then the function repeatedly finds the window whose history
    equals the last ``cut`` items, and appends the target item of this window.

    Raises:
      InputError: a window does not fit into the sequence. The message names the file and line of this window.
    """
    left = dict(windows)
    shortest = min(left, key=len)
    sequence = list(shortest)
    while tuple(sequence[-cut:]) in left:
        sequence.append(left.pop(tuple(sequence[-cut:]))[1])
    for place, _ in left.values():
        raise InputError(f"{place}: does not continue the user's other rows; use the publisher's files")
    return sequence


def _split_text(text: str) -> tuple[str, str, str]:
    """Splits the text of a product into title, department ("" if unknown), and all text after the title."""
    title, root, rest = text.partition(f". {ROOT_CATEGORY}")
    if not root:
        title, _, rest = text.partition(". . ")
    rest = rest.strip(" .")
    department = next((name for name in DEPARTMENTS if rest.startswith(name)), "")
    return readable_title(title.strip(), rest), department if root else "", rest


def _texts(path: Path) -> dict[str, str]:
    """Maps product numbers to texts."""
    texts: dict[str, str] = {}
    for place, (product, text) in rows(path, ("item_id:token", "text:token_seq"), "utf-8"):
        if product in texts:
            raise InputError(f"{place}: item {product} is listed twice")
        texts[product] = " ".join(text.split())
    return texts


def _products(path: Path) -> list[str]:
    """Reads the list of product numbers; item number i is the index into this list."""
    products: dict[int, str] = {}
    for place, (product, text) in rows(path, ("product", "index"), "ascii", headed=False):
        if whole_number(text, place, "index") != len(products):
            raise InputError(f"{place}: index is {text}, expected {len(products)}: indices count up from 0")
        products[len(products)] = product
    return list(products.values())


def read(folder: Path, files: Sequence[str]) -> tuple[Rows, Items, dict[str, int]]:
    """Reads the items, and the interactions of all users in the order of time.

    Raises:
      InputError: a file is malformed.
    """
    *parts, index, texts = (folder / name for name in files)
    products, text_of = _products(index), _texts(texts)
    windows, cut = _windows(parts, len(products))
    sequences = {user: whole_sequence(windows[user], cut) for user in sorted(windows)}
    owner = np.repeat(np.array(list(sequences), np.int64), [len(items) for items in sequences.values()])
    item = np.array([item for items in sequences.values() for item in items], np.int64)
    split = [_split_text(text_of.get(product, "")) for product in products]
    category, names = numbered([department for _, department, _ in split])
    titles, descriptions = [title for title, _, _ in split], [rest for _, _, rest in split]
    items = Items(titles, category, names, descriptions, [products])
    return Rows(owner, item), items, {}

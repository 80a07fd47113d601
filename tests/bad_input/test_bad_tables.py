"""Tests faults in tables of other software: wrong column types, missing values, ids in two spellings."""

from __future__ import annotations

import datetime
import decimal

import numpy as np
import pyarrow as pa
import pytest
from small_tables import LIST, LOG, READ_LIST, READ_LOG, USERS, listed, log, refuse
from test_bad_data import CATALOGUE, COLUMNS, INTERACTIONS, ROWS, line


def renamed(old, new):
    """Returns the interactions after ``old`` was replaced by ``new`` in every row."""
    header, *rows = INTERACTIONS.split("\n")
    return "\n".join([header, *(row.replace(old, new) for row in rows)])


CASES = {  # case -> (files that replace good ones, expected message, *further flags)
    "lists as titles": (
        listed(title=[["a", "b"]] * 30),
        f"HERE/{LIST}: the column 'title' holds list<...>, expected text; convert it",
        READ_LIST,
    ),
    "structs as users": (
        log(user_id=[{"id": user} for user in USERS]),
        f"HERE/{LOG}: the column 'user_id' holds struct<...>, expected text; convert it",
        READ_LOG,
    ),
    "booleans as users": (
        log(user_id=[True, False] * 15),
        f"HERE/{LOG}: the column 'user_id' holds bool, expected text; convert it",
        READ_LOG,
    ),
    "booleans as ratings": (
        log(rating=[True] * 30),
        f"HERE/{LOG}: the column 'rating' holds bool, expected a number; convert it",
        READ_LOG,
    ),
    "dates as ratings": (
        log(rating=[datetime.date(2020, 1, 1)] * 30),
        f"HERE/{LOG}: the column 'rating' holds date32[day], expected a number; convert it",
        READ_LOG,
    ),
    "dates as titles": (
        listed(title=pa.array([3_000_000] * 30, pa.date32())),
        f"HERE/{LIST}: the column 'title' holds date32[day], expected text; convert it",
        READ_LIST,
    ),
    "hours as times": (
        log(timestamp=[datetime.time(10)] * 30),
        f"HERE/{LOG}: the column 'timestamp' holds time64[us], expected a number or a time; convert it",
        READ_LOG,
    ),
    "maps as categories": (
        listed(category=pa.array([[("a", 1)]] * 30, pa.map_(pa.string(), pa.int64()))),
        f"HERE/{LIST}: the column 'category' holds map<...>, expected one or more names; convert it",
        READ_LIST,
    ),
    "lists of lists as categories": (
        listed(category=[[["a"]]] * 30),
        f"HERE/{LIST}: the column 'category' holds list<...>, expected one or more names; convert it",
        READ_LIST,
    ),
    "NaN as a user": (
        log(user_id=np.array([*range(29), np.nan])),
        f"HERE/{LOG}: row 30: user_id is empty",
        READ_LOG,
    ),
    "an infinite user": (
        log(user_id=np.array([*range(29), np.inf])),
        f"HERE/{LOG}: row 30: user_id is inf, expected text or a whole number",
        READ_LOG,
    ),
    "float64 ids that lost digits": (
        log(user_id=np.arange(30) + 2.0**53),
        f"HERE/{LOG}: row 1: user_id is 9007199254740992.0, a float that lost digits; store the column as "
        "text or int64",
        READ_LOG,
    ),
    "float32 ids that lost digits": (
        log(user_id=np.arange(2**24, 2**24 + 30, dtype=np.float32)),
        f"HERE/{LOG}: the column 'user_id' holds float, which loses digits of large numbers; store it as "
        "text or int64",
        READ_LOG,
    ),
    "bytes that are no text": (
        listed(title=[b"Bees\xff"] * 30),
        f"HERE/{LIST}: row 1: title holds bytes that are not UTF-8 text; convert the column",
        READ_LIST,
    ),
    "NaN as a rating": (
        log(rating=[5.0] * 29 + [np.nan]),
        f"HERE/{LOG}: row 30: rating is 'nan', expected a finite number in ...",
        READ_LOG,
    ),
    "no rating in a decimal": (
        log(rating=[decimal.Decimal("4.5")] * 29 + [None]),
        f"HERE/{LOG}: row 30: rating is '', expected a finite number in ...",
        READ_LOG,
    ),
    "no time": (
        log(timestamp=[datetime.datetime(2020, 1, 1)] * 29 + [None]),
        f"HERE/{LOG}: row 30: timestamp is '', expected a finite number or an ISO 8601 date",
        READ_LOG,
    ),
    "missing users in a CSV of numbers": (
        {ROWS: INTERACTIONS.replace("u7,", "nan,").replace("\nu", "\n")},
        f"HERE/{ROWS}: user_id is 'nan' in some rows and a number in all others, so these rows lack it; "
        "remove them",
    ),
    "a missing item in a list of numbers": (
        {COLUMNS: CATALOGUE.replace("i7,", "NULL,").replace("\ni", "\n")},
        f"HERE/{COLUMNS}: item_id is 'NULL' in some rows and a number in all others, ...",
    ),
    "a decimal comma": (
        line(ROWS, 3, 'u0,i1,"4,5",2020-01-02'),
        f"HERE/{ROWS}:3: rating is '4,5', expected a finite number in ...; write 4,5 as 4.5, and 1,000 as "
        "1000",
    ),
    "a rating with thousands": (
        line(ROWS, 3, 'u0,i1,"1,234.5",2020-01-02'),
        f"HERE/{ROWS}:3: rating is '1,234.5', expected a finite number in ...; write 4,5 as 4.5, and ...",
    ),
    "dates after numbers": (
        line(ROWS, 2, "u0,i0,5,20200101"),
        f"HERE/{ROWS}:3: its time is a date, after rows with numbers; use one form for all",
    ),
    "a number after dates": (
        line(ROWS, 3, "u0,i1,5,20200102"),
        f"HERE/{ROWS}:3: its time is a number, after rows with dates; use one form for all",
    ),
    "an American date": (
        line(ROWS, 2, "u0,i0,5,01/31/2020"),
        f"HERE/{ROWS}:2: timestamp is '01/31/2020', expected a finite number or an ISO 8601 date",
    ),
    "ids as floats": (
        {
            ROWS: renamed(",5,", ".0,5,").replace(",i", ",").replace(",tem", ",item"),
            COLUMNS: CATALOGUE.replace("\ni", "\n"),
        },
        f"HERE/{ROWS}:2: item_id is '0.0', {COLUMNS} lists '0'; write the ids in both files in the same way",
    ),
    "ids with zeros in one file": (
        {ROWS: renamed(",i", ",0"), COLUMNS: CATALOGUE.replace("\ni", "\n")},
        f"HERE/{ROWS}:2: item_id is '00', {COLUMNS} lists '0'; write the ids in both files in the same way",
    ),
    "ids in capitals in one file": (
        {ROWS: renamed(",i", ",I")},
        f"HERE/{ROWS}:2: item_id is 'I0', {COLUMNS} lists 'i0'; write the ids in both files in the same way",
    ),
    "ids of something else": (
        {ROWS: renamed(",i", ",x")},
        f"HERE/{ROWS}: {COLUMNS} lists none of its items, such as 'x0', 'x1', 'x2', but items such as "
        "'i0'; look at --config.data.tabular.item",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_columns_of_other_software_end_with_one_line(refused, tmp_path, case):
    changes, message, *flags = CASES[case]
    refuse(refused, tmp_path, changes, message, flags)

"""Databases are the same only where both could be read."""

from __future__ import annotations

from contextlib import closing

import pytest

from tasks.sql.connection import open_database
from tasks.sql.limits import Limits
from tasks.sql.state import read_state


def test_a_database_whose_tables_cannot_be_listed_is_no_empty_one() -> None:
    schema = "".join(f"CREATE TABLE t{number} (a /* {'x' * 300_000} */);" for number in range(4))
    with closing(open_database(schema)) as connection:
        assert len(read_state(connection, Limits()).tables) == 4
        with pytest.raises(OverflowError, match="cannot be listed: a result of more than 1 MB"):
            read_state(connection, Limits(result_mb=1))

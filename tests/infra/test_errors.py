"""What of an error is told on one line."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import OperationalError

from infra.errors import first_line


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("one\ntwo"), "one"),
        (ValueError("\n  late \nmore"), "late"),
        (ValueError(), "ValueError"),
        (ValueError(" \n"), "ValueError"),
        (OperationalError("SELECT 1", {}, ValueError("no such table: t\nhint")), "no such table: t"),
    ],
)
def test_one_line_is_told(error: Exception, told: str) -> None:
    assert first_line(error) == told

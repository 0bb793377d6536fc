"""The catalogue finds what belongs together, however the schema spells it."""

from __future__ import annotations

import pytest

from tasks.sql.catalogue import catalogue_of


@pytest.mark.parametrize("parent", ["Singer", "singer", "SINGER", "singer (ID)", "Singer(id)"])
def test_foreign_keys_make_columns_one_in_any_case(parent: str) -> None:
    schema = f"CREATE TABLE Singer (Id INTEGER PRIMARY KEY); CREATE TABLE song (by INTEGER REFERENCES {parent});"
    found = catalogue_of(schema)
    assert found is not None
    assert found.linked == {"singer.id": "singer.id", "song.by": "singer.id"}

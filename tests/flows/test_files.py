"""Files that commands write: whole, or not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.cli.files import check_folder, check_out, whole_file
from infra.errors import UserError


def test_a_file_is_written_whole_or_what_was_there_stays(tmp_path: Path) -> None:
    out = tmp_path / "pairs.jsonl"
    with whole_file(out) as waiting:
        waiting.write_text("one")
        assert not out.exists()
    assert out.read_text() == "one"
    with pytest.raises(UnicodeEncodeError), whole_file(out) as waiting:
        waiting.write_text("half of it is written before this: \udcff")
    assert out.read_text() == "one"
    assert list(tmp_path.iterdir()) == [out]


def test_a_place_that_cannot_be_written_is_told_before_the_work(tmp_path: Path) -> None:
    for out, why in ((tmp_path / "nowhere" / "x", "no folder"), (tmp_path, "that is a folder")):
        with pytest.raises(UserError, match=why):
            check_out(out)


def test_a_folder_may_be_new_but_not_a_file_or_below_one(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for out in (tmp_path, tmp_path / "new" / "docs"):
        check_folder(out, "--docs")
    for out in (file, file / "docs"):
        with pytest.raises(UserError, match=r"--docs .*file is a file; name a folder"):
            check_folder(out, "--docs")

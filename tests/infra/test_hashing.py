"""Fingerprints depend on content and on nothing else."""

from __future__ import annotations

from pathlib import Path

from infra.hashing import LENGTH, code_version, fingerprint, fingerprint_of_folder


def test_key_order_does_not_matter_and_values_do() -> None:
    assert fingerprint({"a": 1, "b": [2]}) == fingerprint({"b": [2], "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})
    assert len(fingerprint(None)) == LENGTH


def test_folders_are_equal_by_names_and_contents(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        (folder / "sub").mkdir(parents=True)
        (folder / "sub" / "x").write_text("x")
    assert fingerprint_of_folder(one) == fingerprint_of_folder(two)
    (two / "sub" / "x").rename(two / "sub" / "y")
    assert fingerprint_of_folder(one) != fingerprint_of_folder(two)


def test_code_version_covers_sources_and_libraries() -> None:
    assert code_version(["infra"], ["pydantic"]) == code_version(["infra"], ["pydantic"])
    assert code_version(["infra"]) != code_version(["infra.store"])
    assert code_version(["infra"], ["pydantic"]) != code_version(["infra"])

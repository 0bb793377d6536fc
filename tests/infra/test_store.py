"""The store: the same behaviour on a folder and on S3 (moto's server)."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from infra.errors import AlreadyExists, NotFound, UserError
from infra.store import LocalStore, Store, open_store
from tests.servers import s3_bucket


@pytest.fixture(scope="module")
def s3_url() -> Iterator[str]:
    with s3_bucket("nights") as bucket:
        yield f"s3://{bucket}/some/prefix"


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "folder":
        return open_store(str(tmp_path / "store"))
    return open_store(f"{request.getfixturevalue('s3_url')}/{tmp_path.name}")


def test_reads_what_was_written_and_replaces_it(store: Store) -> None:
    store.write("a/b.txt", b"one")
    store.write("a/b.txt", b"two")
    assert store.read("a/b.txt") == b"two"
    assert store.exists("a/b.txt")
    assert store.size("a/b.txt") == 3
    assert not store.exists("a/c.txt")


def test_a_missing_key_is_not_found(store: Store, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="a/nothing"):
        store.read("a/nothing")
    with pytest.raises(NotFound, match="a/nothing"):
        store.size("a/nothing")
    assert store.list("a") == []


def test_create_succeeds_once(store: Store) -> None:
    store.create_json("ledger/1", {"by": "first"})
    with pytest.raises(AlreadyExists):
        store.create_json("ledger/1", {"by": "second"})
    assert store.read_json("ledger/1") == {"by": "first"}


def test_of_many_rivals_exactly_one_creates(store: Store) -> None:
    def attempt(rival: int) -> bool:
        try:
            store.create_json("race", {"rival": rival})
        except AlreadyExists:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(16))) == 1


def test_a_tree_counts_only_when_closed(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "tree"
    (folder / "sub").mkdir(parents=True)
    (folder / "x.txt").write_text("x")
    (folder / "sub" / "y.txt").write_text("y")
    store.write("trees/half/x.txt", b"x")
    assert not store.has_tree("trees/half")
    with pytest.raises(NotFound):
        store.get_tree("trees/half", tmp_path / "out")
    store.put_tree("trees/whole", folder, {"rows": 2})
    assert store.about_tree("trees/whole") == {"rows": 2}
    fetched = store.get_tree("trees/whole", tmp_path / "fetched")
    assert (fetched / "sub" / "y.txt").read_text() == "y"


def test_a_file_larger_than_a_part_comes_back_as_it_was(store: Store, tmp_path: Path) -> None:
    """Nine megabytes: one more than boto3 sends in one piece."""
    source = tmp_path / "model.safetensors"
    source.write_bytes(b"0123456789abcdef" * (9 << 16))
    store.put("models/model.safetensors", source)
    found = store.fetch("models/model.safetensors", tmp_path / "fetched")
    assert found.read_bytes() == source.read_bytes()


def test_what_is_not_there_cannot_be_fetched_and_leaves_nothing(store: Store, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="models/none"):
        store.fetch("models/none", tmp_path / "fetched")
    assert list(tmp_path.glob("fetched*")) == []


def test_listing_and_deleting(store: Store) -> None:
    for key in ("n/1", "n/2", "nn/3"):
        store.write(key, b"")
    assert store.list("n") == ["n/1", "n/2"]
    store.delete("n/1")
    store.delete("n/1")
    assert store.list("n") == ["n/2"]


@pytest.mark.parametrize("key", ["../outside", "/etc/passwd", ""])
def test_keys_stay_inside(tmp_path: Path, key: str) -> None:
    with pytest.raises(UserError):
        LocalStore(tmp_path).write(key, b"")


def test_other_urls_are_refused() -> None:
    with pytest.raises(UserError, match="gs://"):
        open_store("gs://bucket")

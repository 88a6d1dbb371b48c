"""What every store must do. A back end is put through it by a subclass whose fixture `store` gives an empty one."""

import hashlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest

from collabspace.broker.pointers import MAX_CONTENT_BYTES
from collabspace.broker.store import BadKeyError, Store

OWNER = "0a1b2c3d-0000-4000-8000-000000000001"
OTHER = "0a1b2c3d-0000-4000-8000-000000000002"
WRITERS = 8
T = TypeVar("T")
HOSTILE = ["", ".", "..", "../x", "a/b", "/etc", "A-B", "x" * 65, "a\x00b", "a\n", "é", "a.b", "-a"]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def put(store: Store, folder: Path, content: bytes, owner: str = OWNER) -> str:
    source = folder / "incoming"
    source.write_bytes(content)
    store.put_blob(owner, sha256(content), source)
    return sha256(content)


def raced(write: Callable[[int], T]) -> list[T]:
    """What each of several writers got that began at the same moment."""
    barrier = threading.Barrier(WRITERS)

    def begin(number: int) -> T:
        barrier.wait()
        return write(number)

    with ThreadPoolExecutor(WRITERS) as pool:
        return list(pool.map(begin, range(WRITERS)))


class StoreSuite:
    """Tests of the protocol, free of any back end's own words."""

    def test_a_blob_is_read_back_equal(self, store: Store, tmp_path: Path) -> None:
        name = put(store, tmp_path, b"twelve bytes")
        assert store.blob_size(OWNER, name) == 12
        with store.open_blob(OWNER, name) as blob:
            assert blob.read() == b"twelve bytes"
            blob.seek(7)
            assert blob.read() == b"bytes"

    def test_an_empty_blob_is_a_blob(self, store: Store, tmp_path: Path) -> None:
        assert store.blob_size(OWNER, put(store, tmp_path, b"")) == 0

    def test_putting_a_blob_twice_leaves_one(self, store: Store, tmp_path: Path) -> None:
        assert put(store, tmp_path, b"same") == put(store, tmp_path, b"same")
        assert store.blob_size(OWNER, sha256(b"same")) == 4

    def test_the_source_of_a_blob_is_taken_over(self, store: Store, tmp_path: Path) -> None:
        put(store, tmp_path, b"x")
        assert not (tmp_path / "incoming").exists()

    def test_a_blob_of_one_owner_is_not_there_for_another(self, store: Store, tmp_path: Path) -> None:
        name = put(store, tmp_path, b"private")
        assert store.blob_size(OTHER, name) is None
        with pytest.raises(FileNotFoundError):
            store.open_blob(OTHER, name)

    def test_an_exposed_blob_is_a_file_with_its_bytes(self, store: Store, tmp_path: Path) -> None:
        name = put(store, tmp_path, b"shown")
        # Links need one disk: the view lies beside the store, as the broker places it.
        target = tmp_path / "view" / "deep" / "file"
        store.expose(OWNER, name, target)
        assert target.read_bytes() == b"shown"

    def test_a_manifest_is_created_once_and_never_changed(self, store: Store) -> None:
        digest = "sha256:" + sha256(b"one")
        assert store.put_manifest(OWNER, digest, b"one")
        assert not store.put_manifest(OWNER, digest, b"two")
        assert store.read_manifest(OWNER, digest) == b"one"

    def test_of_many_writers_of_one_manifest_exactly_one_creates_it(self, store: Store) -> None:
        digest = "sha256:" + sha256(b"raced")
        created = raced(lambda number: store.put_manifest(OWNER, digest, f"{number}".encode()))
        assert sorted(created) == [False] * (WRITERS - 1) + [True]
        assert store.read_manifest(OWNER, digest) == f"{created.index(True)}".encode()

    def test_a_pointer_changes_for_whoever_has_seen_what_it_is(self, store: Store) -> None:
        name = sha256(b"production")
        assert store.read_pointer(OWNER, name) is None
        first = store.swap_pointer(OWNER, name, b"one", None)
        assert first is not None and store.swap_pointer(OWNER, name, b"other", None) is None
        second = store.swap_pointer(OWNER, name, b"two", first)
        assert second is not None and store.swap_pointer(OWNER, name, b"late", first) is None
        found = store.read_pointer(OWNER, name)
        assert found is not None and (found.content, found.tag) == (b"two", second)
        assert store.read_pointer(OTHER, name) is None

    def test_a_pointer_that_is_not_there_cannot_be_replaced(self, store: Store) -> None:
        tag = store.swap_pointer(OWNER, sha256(b"a"), b"one", None)
        assert store.swap_pointer(OWNER, sha256(b"b"), b"two", tag) is None
        assert store.read_pointer(OWNER, sha256(b"b")) is None

    def test_the_pointers_of_an_owner_are_known_by_name(self, store: Store) -> None:
        assert store.pointers(OWNER) == []
        for name in ("a", "b"):
            assert store.swap_pointer(OWNER, sha256(name.encode()), b"x", None) is not None
        assert store.pointers(OWNER) == sorted(sha256(name.encode()) for name in ("a", "b"))
        assert store.pointers(OTHER) == []

    def test_of_many_writers_of_one_pointer_exactly_one_wins_each_round(self, store: Store) -> None:
        def swap(number: int) -> str | None:
            return store.swap_pointer(OWNER, name, contents[number], tag)

        name, tag = sha256(b"raced"), None
        for contents in (
            [f"{number}".encode() for number in range(WRITERS)],
            [b"equal"] * WRITERS,
            [b"equal"] * WRITERS,
        ):
            won = raced(swap)
            tags = [new for new in won if new is not None]
            found = store.read_pointer(OWNER, name)
            assert found is not None and tags == [found.tag] and found.content == contents[won.index(found.tag)]
            tag = found.tag

    def test_a_pointer_too_long_to_be_one_is_refused(self, store: Store) -> None:
        with pytest.raises(ValueError, match="at most"):
            store.swap_pointer(OWNER, "0" * 64, b"x" * (MAX_CONTENT_BYTES + 1), None)

    def test_a_manifest_that_is_not_there_is_none(self, store: Store) -> None:
        assert store.read_manifest(OWNER, "sha256:" + "0" * 64) is None
        assert store.versions(OWNER) == []

    def test_versions_are_listed_newest_first_under_their_owner(self, store: Store) -> None:
        digests = ["sha256:" + sha256(str(number).encode()) for number in range(4)]
        for digest in digests:
            store.put_manifest(OWNER, digest, b"{}")
        store.put_manifest(OTHER, digests[0], b"{}")
        assert [version.digest for version in store.versions(OWNER)] == digests[::-1]
        assert list(store.owners()) == [OWNER, OTHER]

    def test_blobs_and_versions_tell_when_they_were_made(self, store: Store, tmp_path: Path) -> None:
        before = time.time()
        put(store, tmp_path, b"x")
        store.put_manifest(OWNER, "sha256:" + sha256(b"{}"), b"{}")
        for made in (*store.blobs(OWNER), *store.versions(OWNER)):
            assert before - 2 < made.created / 1e9 < time.time() + 2, "stores tell whole seconds at least"

    def test_what_is_removed_is_gone_and_removing_it_again_is_silent(self, store: Store, tmp_path: Path) -> None:
        name, digest = put(store, tmp_path, b"old"), "sha256:" + sha256(b"{}")
        kept = put(store, tmp_path, b"kept")
        store.put_manifest(OWNER, digest, b"{}")
        for _ in range(2):
            store.remove_manifest(OWNER, digest)
            store.remove_blob(OWNER, name)
        assert (store.read_manifest(OWNER, digest), store.blob_size(OWNER, name)) == (None, None)
        assert [(blob.sha256, blob.bytes) for blob in store.blobs(OWNER)] == [(kept, 4)]

    def test_an_owner_goes_with_everything_and_no_other_owner_with_it(self, store: Store, tmp_path: Path) -> None:
        for owner in (OWNER, OTHER):
            put(store, tmp_path, b"bytes", owner)
            store.put_manifest(owner, "sha256:" + sha256(b"{}"), b"{}")
            store.swap_pointer(owner, "0" * 64, b"pointer", None)
        for _ in range(2):
            store.remove_owner(OWNER)
        assert list(store.owners()) == [OTHER]
        assert len(store.versions(OTHER)) == len(store.blobs(OTHER)) == 1
        assert (store.versions(OWNER), store.blobs(OWNER), store.read_pointer(OWNER, "0" * 64)) == ([], [], None)
        assert store.read_pointer(OTHER, "0" * 64) is not None

    @pytest.mark.parametrize("owner", HOSTILE)
    def test_an_owner_that_is_no_uid_is_refused_before_any_path_is_made(self, store: Store, owner: str) -> None:
        with pytest.raises(BadKeyError):
            store.read_manifest(owner, "sha256:" + "0" * 64)
        with pytest.raises(BadKeyError):
            store.blob_size(owner, "0" * 64)

    @pytest.mark.parametrize("name", ["", "..", "0" * 63, "0" * 65, "g" * 64, "../" + "0" * 61, "0" * 64 + "\n"])
    def test_a_name_that_is_no_hash_is_refused_before_any_path_is_made(self, store: Store, name: str) -> None:
        with pytest.raises(BadKeyError):
            store.open_blob(OWNER, name)
        with pytest.raises(BadKeyError):
            store.swap_pointer(OWNER, name, b"", None)
        with pytest.raises(BadKeyError):
            store.put_manifest(OWNER, "sha256:" + name, b"{}")
        with pytest.raises(BadKeyError):
            store.put_manifest(OWNER, name, b"{}")

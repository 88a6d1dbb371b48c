"""The S3 store on a real server, put through the suite of all stores, and what is its own."""

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from radosgw_server import RadosGateway
from store_suite import OWNER, StoreSuite, put, sha256

from collabspace.broker.s3_blob import PART_BYTES
from collabspace.broker.s3_bucket import Address, Bucket
from collabspace.broker.s3_selftest import UnfitStoreError, self_tested
from collabspace.broker.s3_store import LEFTOVER_SECONDS, MARKER, S3Store
from collabspace.broker.store import StoreUnavailableError


@pytest.fixture
def store(at: Callable[..., Bucket], request: pytest.FixtureRequest) -> Iterator[S3Store]:
    """Below a prefix of its own."""
    store = S3Store(at(f"team/{sha256(request.node.nodeid.encode())[:12]}"), bare_tags=True)
    store.claim()
    yield store


class TestS3Store(StoreSuite):
    def test_the_self_test_finds_this_server_fit_and_leaves_nothing(self, store: S3Store) -> None:
        assert self_tested(store.bucket).condition("tag") == store.condition("tag")
        assert [item.key for item in store.bucket.list("")] == [MARKER]

    def test_keys_are_those_of_the_design(self, store: S3Store, tmp_path: Path) -> None:
        name = put(store, tmp_path, b"x")
        store.put_manifest(OWNER, f"sha256:{name}", b"{}")
        store.swap_pointer(OWNER, name, b"x", None)
        keys = [f"{OWNER}/aliases/{name}", f"{OWNER}/blobs/{name}", f"{OWNER}/versions/{name}.json"]
        assert [item.key for item in store.bucket.list("")] == [MARKER, *keys]

    def test_a_blob_in_parts_is_read_back_equal_from_anywhere(self, store: S3Store, tmp_path: Path) -> None:
        content = os.urandom(1 << 20) * 33 + b"end"
        name = put(store, tmp_path, content)
        assert len(content) > 2 * PART_BYTES and store.blob_size(OWNER, name) == len(content)
        store.expose(OWNER, name, tmp_path / "view" / "file")
        assert hashlib.sha256((tmp_path / "view" / "file").read_bytes()).hexdigest() == name
        with store.open_blob(OWNER, name) as blob:
            blob.seek(len(content) - 5)
            assert blob.read() == content[-5:]
        assert list(store.bucket.multiparts()) == []

    def test_parts_left_by_a_killed_broker_go_after_a_day(
        self, store: S3Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store.bucket.call("create_multipart_upload", Key=store.bucket.key("half"))
        store.bucket.put(".probes/forgotten", b"x")
        store.discard_partial()
        assert len(list(store.bucket.multiparts())) == len(list(store.bucket.list(".probes/"))) == 1
        later = time.time() + LEFTOVER_SECONDS + 60
        monkeypatch.setattr(time, "time", lambda: later)
        store.discard_partial()
        assert list(store.bucket.multiparts()) == list(store.bucket.list(".probes/")) == []

    def test_versions_of_one_second_keep_their_order(self, store: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
        digests = ["sha256:" + sha256(str(number).encode()) for number in range(4)]
        for digest in digests:
            store.put_manifest(OWNER, digest, b"{}")
        exact = store.bucket.list

        def in_whole_years(folder: str) -> Iterator[object]:
            return (type(item)(item.key, item.bytes, 1) for item in exact(folder))

        monkeypatch.setattr(store.bucket, "list", in_whole_years)
        assert [version.digest for version in store.versions(OWNER)] == digests[::-1]

    def test_an_empty_bucket_is_not_taken_for_the_store(self, store: S3Store, tmp_path: Path) -> None:
        name = put(store, tmp_path, b"x")
        for item in store.bucket.list(""):
            store.bucket.delete(item.key)
        other = S3Store(store.bucket)
        for call in (
            lambda: list(other.owners()),
            lambda: other.versions(OWNER),
            lambda: other.read_pointer(OWNER, name),
            lambda: other.open_blob(OWNER, name),
            lambda: other.put_manifest(OWNER, f"sha256:{name}", b"{}"),
        ):
            with pytest.raises(StoreUnavailableError):
                call()
        assert list(store.bucket.list("")) == []


def test_a_bucket_that_keeps_versions_is_refused_since_it_lets_creation_overwrite(
    radosgw: RadosGateway, at: Callable[..., Bucket]
) -> None:
    with pytest.raises(UnfitStoreError, match="If-None-Match overwrite what is there; use a bucket without versioning"):
        self_tested(at("x", radosgw.bucket(versioned=True)))


def test_a_bucket_that_is_not_there_is_a_store_that_is_away(at: Callable[..., Bucket]) -> None:
    with pytest.raises(StoreUnavailableError, match="NoSuchBucket"):
        self_tested(at("x", "no-such-bucket"))


def test_wrong_keys_are_a_store_that_is_away_and_are_not_repeated(
    radosgw: RadosGateway, open_bucket: Bucket, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "wrong").write_text("another-secret")
    bucket = Bucket(Address(open_bucket.name, "", radosgw.endpoint, None, True, keys[0], tmp_path / "wrong"))
    with pytest.raises(StoreUnavailableError, match="SignatureDoesNotMatch") as refused:
        self_tested(bucket)
    assert radosgw.access_key not in str(refused.value) and "another-secret" not in str(refused.value)
    bucket.close()

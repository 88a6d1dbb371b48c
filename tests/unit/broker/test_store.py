"""The filesystem store, put through the suite of all stores, and what is its own."""

from collections.abc import Callable
from pathlib import Path

import pytest
from store_suite import OWNER, StoreSuite, put, sha256

from collabspace.broker.filesystem_store import MARKER, FilesystemStore
from collabspace.broker.store import StoreUnavailableError


class TestFilesystemStore(StoreSuite):
    @pytest.fixture
    def store(self, tmp_path: Path) -> FilesystemStore:
        return FilesystemStore(tmp_path / "store")

    def test_what_is_half_there_is_no_version_and_foreign_folders_are_no_owners(self, store: FilesystemStore) -> None:
        digest = "sha256:" + sha256(b"x")
        store.put_manifest(OWNER, digest, b"{}")
        (store.root / OWNER / "versions" / ".abc.partial").write_bytes(b"{")
        (store.root / OWNER / "versions" / "notes.json").write_bytes(b"{")
        (store.root / ".checks").mkdir()
        (store.root / "lost+found").mkdir()
        assert [version.digest for version in store.versions(OWNER)] == [digest]
        assert list(store.owners()) == [OWNER]

    def test_blobs_and_manifests_lie_where_the_design_says(self, store: FilesystemStore, tmp_path: Path) -> None:
        name = put(store, tmp_path, b"x")
        store.put_manifest(OWNER, f"sha256:{name}", b"{}")
        files = sorted(str(path.relative_to(store.root)) for path in store.root.rglob("*") if path.is_file())
        assert files == [MARKER, f"{OWNER}/blobs/{name}", f"{OWNER}/versions/{name}.json"]

    def test_an_empty_folder_in_its_place_is_not_taken_for_the_store(
        self, store: FilesystemStore, tmp_path: Path
    ) -> None:
        name, digest = put(store, tmp_path, b"x"), "sha256:" + sha256(b"{}")
        store.root.rename(tmp_path / "away")
        store.root.mkdir()
        (tmp_path / "incoming").write_bytes(b"y")
        calls: list[Callable[[], object]] = [
            lambda: list(store.owners()),
            lambda: store.versions(OWNER),
            lambda: store.blobs(OWNER),
            lambda: store.read_manifest(OWNER, digest),
            lambda: store.put_manifest(OWNER, digest, b"{}"),
            lambda: store.blob_size(OWNER, name),
            lambda: store.open_blob(OWNER, name),
            lambda: store.put_blob(OWNER, sha256(b"y"), tmp_path / "incoming"),
            lambda: store.remove_manifest(OWNER, digest),
            lambda: store.pointers(OWNER),
            lambda: store.read_pointer(OWNER, name),
            lambda: store.swap_pointer(OWNER, name, b"x", None),
        ]
        for call in calls:
            with pytest.raises(StoreUnavailableError):
                call()
        assert list(store.root.iterdir()) == []

"""The filesystem store, put through the suite of all stores, and what is its own."""

from pathlib import Path

import pytest
from store_suite import OWNER, StoreSuite, put, sha256

from collabspace.broker.store import FilesystemStore


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
        assert files == [f"{OWNER}/blobs/{name}", f"{OWNER}/versions/{name}.json"]

"""Whatever order, overlap and interruption bytes come in: what is committed has its hash, and no offset lies."""

import asyncio
import hashlib
import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from collabspace.api.manifest import FileEntry, Manifest
from collabspace.broker.filesystem_store import FilesystemStore
from collabspace.broker.ledger import PUBLISHED, Entry
from collabspace.broker.refusal import Refused
from collabspace.broker.staging import Staging
from collabspace.broker.tokens import Caller
from collabspace.broker.uploads import Upload, Uploads, check_manifest
from collabspace.client.protocol import Decision, UploadTarget

OWNER = "0a1b2c3d-0000-4000-8000-000000000001"
CALLER = Caller("hospital", "collabspace-publisher")
ENTRY = Entry(PUBLISHED, Decision.ALLOWED, "Own")
TARGET = UploadTarget(kind="Dataset", namespace="hospital", name="notes", uid=OWNER)
RESULT = UploadTarget(kind="Result", namespace="lab", name="ner", uid=OWNER, attempt=1)
numbers = itertools.count()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def manifest(*files: tuple[str, bytes], format: str = "TokenClassification") -> Manifest:
    entries = [{"path": path, "sha256": sha256(content), "bytes": len(content)} for path, content in files]
    return Manifest.model_validate({"ownerUid": OWNER, "format": format, "files": entries})


async def body(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


class Room:
    """Uploads over a folder of their own."""

    def __init__(self, root: Path) -> None:
        self.store = FilesystemStore(root)
        self.staging = Staging(root, self.store)
        self.uploads = Uploads(self.staging, self.store)

    def begin(self, *files: tuple[str, bytes], caller: Caller = CALLER) -> Upload:
        return self.uploads.begin(caller, TARGET, manifest(*files), ENTRY)


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path / "store")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.binary(min_size=1, max_size=64),
    sends=st.lists(st.tuples(st.integers(0, 70), st.integers(0, 70)), max_size=12),
)
def test_bytes_are_taken_at_the_true_offset_only_and_the_blob_ends_up_whole(
    tmp_path: Path, content: bytes, sends: list[tuple[int, int]]
) -> None:
    asyncio.run(send_all(Room(tmp_path / str(next(numbers))), content, sends))


async def send_all(room: Room, content: bytes, sends: list[tuple[int, int]]) -> None:
    upload, name = room.begin(("a", content)), sha256(content)
    stands = 0
    for offset, length in sends:
        piece = content[offset : offset + length]
        if offset == stands:
            stands = await room.uploads.receive(upload, name, offset, body(piece))
            assert stands == offset + len(piece)
        else:
            with pytest.raises(Refused) as refused:
                await room.uploads.receive(upload, name, offset, body(piece))
            assert refused.value.reason == "OffsetMismatch"
        assert await room.uploads.offset(upload, name) == stands
    await room.uploads.receive(upload, name, stands, body(content[stands:]))
    assert await room.uploads.missing(upload) == []
    with room.store.open_blob(OWNER, name) as blob:
        assert blob.read() == content


async def test_a_body_that_breaks_off_leaves_what_came(room: Room) -> None:
    async def breaking() -> AsyncIterator[bytes]:
        yield b"x" * (1 << 20)
        raise ConnectionError

    content = b"x" * (1 << 20) + b"rest"
    upload = room.begin(("a", content))
    with pytest.raises(ConnectionError):
        await room.uploads.receive(upload, sha256(content), 0, breaking())
    assert await room.uploads.offset(upload, sha256(content)) == 1 << 20
    assert await room.uploads.receive(upload, sha256(content), 1 << 20, body(b"rest")) == len(content)


async def test_bytes_beyond_the_manifest_are_refused_and_not_kept(room: Room) -> None:
    upload = room.begin(("a", b"1234"))
    with pytest.raises(Refused) as refused:
        await room.uploads.receive(upload, sha256(b"1234"), 0, body(b"12345"))
    assert (refused.value.status, refused.value.reason) == (413, "TooLarge")
    assert await room.uploads.offset(upload, sha256(b"1234")) == 0


async def test_bytes_with_another_hash_are_thrown_away(room: Room) -> None:
    upload = room.begin(("a", b"good"))
    with pytest.raises(Refused) as refused:
        await room.uploads.receive(upload, sha256(b"good"), 0, body(b"evil"))
    assert (refused.value.status, refused.value.reason) == (422, "HashMismatch")
    assert await room.uploads.offset(upload, sha256(b"good")) == 0
    assert room.store.blob_size(OWNER, sha256(b"good")) is None


async def test_an_upload_begun_again_is_the_same_and_goes_on(room: Room, tmp_path: Path) -> None:
    upload = room.begin(("a", b"12345678"))
    await room.uploads.receive(upload, sha256(b"12345678"), 0, body(b"1234"))
    assert room.begin(("a", b"12345678")).id == upload.id
    later = Room(tmp_path / "store")
    assert await later.uploads.offset(later.begin(("a", b"12345678")), sha256(b"12345678")) == 4


async def test_an_upload_is_known_to_its_own_caller_only(room: Room) -> None:
    upload = room.begin(("a", b"1"))
    for stranger in (
        Caller("other", CALLER.account),
        Caller("hospital", "other"),
        Caller("hospital", CALLER.account, "p", "u"),
    ):
        with pytest.raises(Refused) as refused:
            room.uploads.find(upload.id, stranger)
        assert refused.value.reason == "UploadUnknown"
    assert room.uploads.find(upload.id, CALLER) is upload


async def test_one_namespace_cannot_begin_uploads_without_end(room: Room) -> None:
    for number in range(32):
        room.begin((f"f{number}", str(number).encode()))
    with pytest.raises(Refused) as refused:
        room.begin(("one-more", b"x"))
    assert refused.value.status == 429
    room.begin(("one-more", b"x"), caller=Caller("other", CALLER.account))


async def test_an_upload_larger_than_the_disk_is_refused_before_it_starts(room: Room) -> None:
    huge = Manifest.model_validate(
        {"ownerUid": OWNER, "format": "Model", "files": [{"path": "a", "sha256": "0" * 64, "bytes": 1 << 60}]}
    )
    upload = room.uploads.begin(CALLER, TARGET, huge, ENTRY)
    with pytest.raises(Refused) as refused:
        await room.uploads.check_room(upload, await room.uploads.missing(upload))
    assert (refused.value.status, refused.value.reason) == (507, "StorageFull")


@pytest.mark.parametrize("path", ["a/../b", "../a", "a/..", "a//b", "a/", "/a", "a/./b", "a\\b", "a\x00b", ".a", "é"])
def test_a_path_that_leaves_its_folder_cannot_even_be_said(path: str) -> None:
    with pytest.raises(ValidationError):
        manifest((path, b"x"))


REFUSED_MANIFESTS = {
    "two files of one path": (manifest(("a", b"1"), ("a", b"2")), TARGET),
    "two paths that differ in letter case only": (manifest(("a", b"1"), ("A", b"2")), TARGET),
    "a file named like the manifest": (manifest(("manifest.json", b"1")), TARGET),
    "a file named like the manifest in other letters": (manifest(("Manifest.JSON", b"1")), TARGET),
    "a file that is also a folder": (manifest(("a", b"1"), ("a/b", b"2")), TARGET),
    "no file at all": (manifest(), TARGET),
    "a dataset sent as a result": (manifest(("a.json", b"1")), RESULT),
    "a result sent as a dataset": (manifest(("a.json", b"1"), format="Result"), TARGET),
    "a result with a pickle": (manifest(("model/weights.pkl", b"1"), format="Result"), RESULT),
    "a result with a program": (manifest(("run.py", b"1"), format="Result"), RESULT),
    "a result with a file of no kind": (manifest(("weights", b"1"), format="Result"), RESULT),
    "another owner": (manifest(("a", b"1")).model_copy(update={"owner_uid": "someone-else"}), TARGET),
}


@pytest.mark.parametrize("case", REFUSED_MANIFESTS)
def test_refused_is_a_manifest_with(case: str) -> None:
    with pytest.raises(Refused) as refused:
        check_manifest(*REFUSED_MANIFESTS[case], 100)
    assert refused.value.status == 422


def test_a_hash_with_two_sizes_is_refused() -> None:
    (first,) = manifest(("a", b"1")).files
    second = FileEntry(path="b", sha256=first.sha256, bytes=99)
    with pytest.raises(Refused):
        check_manifest(manifest(("a", b"1")).model_copy(update={"files": [first, second]}), TARGET, 1000)


def test_a_version_above_the_limit_is_refused_with_both_numbers() -> None:
    with pytest.raises(Refused) as refused:
        check_manifest(manifest(("a", b"12345")), TARGET, 4)
    assert refused.value.status == 413 and "5 bytes" in refused.value.message and "at most 4" in refused.value.message


def test_a_whole_result_folder_is_accepted() -> None:
    files = ["DONE", "run.json", "metrics.json", "report.txt", "curve.jsonl", "predictions/notes-test.jsonl",
             "counts/notes-test.safetensors", "model/model.safetensors", "model/vocab.txt", "card.md"]  # fmt: skip
    check_manifest(manifest(*((path, path.encode()) for path in files), format="Result"), RESULT, 10_000)

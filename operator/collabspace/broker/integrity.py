"""Whether a stored result is whole: looked up byte by byte before anything is made to rest on it."""

import hashlib

from collabspace.broker.store import Store
from collabspace.broker.versions import read_manifest

DONE = "DONE"
MODEL = "model/"
CHUNK_BYTES = 1 << 20


def result_fault(store: Store, storage: str, digest: str) -> str | None:
    """Blocks, and reads every byte. What keeps this result from being a complete model; None: nothing.

    Raises OSError when the store cannot be used: that says nothing about the result.
    """
    manifest = read_manifest(store, storage, digest)
    if manifest is None or manifest.format != "Result":
        return "the task has stored no such result"
    paths = {file.path for file in manifest.files}
    if DONE not in paths:
        return f"the file {DONE}, which a trainer writes last, is missing"
    if not any(path.startswith(MODEL) for path in paths):
        return "it holds no model"
    for file in {file.sha256: file for file in manifest.files}.values():
        if not _is_sound(store, storage, file.sha256, file.bytes):
            return f"the bytes of {file.path} are not those of its manifest"
    return None


def _is_sound(store: Store, storage: str, sha256: str, size: int) -> bool:
    if store.blob_size(storage, sha256) != size:
        return False
    found = hashlib.sha256()
    try:
        with store.open_blob(storage, sha256) as blob:
            while chunk := blob.read(CHUNK_BYTES):
                found.update(chunk)
    except FileNotFoundError:
        return False
    return found.hexdigest() == sha256

"""Manifests that people hand in: read from a file or stdin, placed in a namespace, created as the API server allows."""

import contextlib
import sys
from pathlib import Path
from typing import Any

import yaml

from collabspace.cli.cluster import FIELD_MANAGER, Cluster, path_of
from collabspace.cli.errors import CommandError
from collabspace.kube.client import KubeError, Object

MAX_FILE_BYTES = 3 * 1024 * 1024
SERVER_WRITES = frozenset({"uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink"})
STRICT = {"fieldValidation": "Strict", "fieldManager": FIELD_MANAGER}


def documents(path: Path, example: str) -> list[Object]:
    """The objects in the file, `-` for stdin. Raises CommandError; `example` is a command that prints one."""
    found = _parsed(path, _read(path))
    if not found:
        raise CommandError(f"{path} holds no object", f"An example: {example} prints one.")
    for number, document in enumerate(found, 1):
        if not isinstance(document, dict):
            raise CommandError(f"{path}: document {number} is no object", "It begins with apiVersion and kind.")
    return found


def _read(path: Path) -> str:
    """The text of the file, or of stdin for `-`. Raises CommandError when it is no text or far too long for tasks."""
    try:
        with contextlib.nullcontext(sys.stdin.buffer) if str(path) == "-" else path.open("rb") as source:
            content = source.read(MAX_FILE_BYTES + 1)
        text = content.decode()
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}", "Check the path.") from error
    except UnicodeDecodeError as error:
        raise CommandError(f"{path} cannot be read: it is not UTF-8", "Save it as UTF-8 text.") from error
    if len(content) > MAX_FILE_BYTES:
        raise CommandError(f"{path} is larger than {MAX_FILE_BYTES} bytes", "A manifest is small; check the name.")
    return text


def _parsed(path: Path, text: str) -> list[Any]:
    """The documents in it. Raises CommandError naming the line."""
    try:
        return [document for document in yaml.safe_load_all(text) if document is not None]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path}:{mark.line + 1}" if mark else str(path)
        problem = getattr(error, "problem", None) or "not readable"
        raise CommandError(f"{place}: no valid YAML ({problem})", "Correct the line.") from error
    except (ValueError, RecursionError) as error:
        kind = "a value that is none" if isinstance(error, ValueError) else "nested too deeply"
        raise CommandError(f"{path}: no valid YAML ({kind})", "Correct it.") from error


def placed(document: Object, cluster: Cluster, filename: Path | None) -> Object:
    """The document with the namespace in it and without what only a server writes, so that `get -o yaml` can be read.

    As with kubectl, -n must not contradict what the file says.
    """
    metadata = document.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    said = metadata.get("namespace")
    if said and cluster.where.namespace not in (None, said):
        what = f"{filename} says namespace {said}, the command says -n {cluster.where.namespace}"
        raise CommandError(what, "Leave one of them away.")
    kept = {key: value for key, value in metadata.items() if key not in SERVER_WRITES}
    rest = {key: value for key, value in document.items() if key != "status"}
    return {**rest, "metadata": {**kept, "namespace": said or cluster.namespace}}


async def create(cluster: Cluster, resource: str, document: Object, *, dry_run: bool) -> Object:
    """The object as made. A dry run passes what is there already: whether it may be changed is another question."""
    path = path_of(resource, document["metadata"]["namespace"])
    try:
        return await cluster.client.create(path, document, STRICT | ({"dryRun": "All"} if dry_run else {}))
    except KubeError as error:
        if dry_run and error.status == 409 and error.reason == "AlreadyExists":
            return document
        raise

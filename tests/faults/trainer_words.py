"""What a played trainer says to the broker: the real protocol by the real client, with the work itself left out."""

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collabspace.api.manifest import FileEntry, Manifest
from collabspace.api.run import CheckpointReference, EndRecord, ExitCode, Metric, RunDocument
from collabspace.client.client import BrokerClient
from collabspace.client.errors import AccessRefused, BrokerError

PATIENCE_SECONDS = 15.0
STEPS = 30
Place = tuple[str, str]
"""Url and authority (PEM) of the broker."""


@dataclass(frozen=True)
class Acted:
    """How the process ended: exit code and termination message."""

    code: int
    message: str


def work(broker: Place, token: str, run: RunDocument, room: Path) -> Acted:
    """Reads all that the run document names; code 0 when all was given."""
    wanted = [(each.uid, each.digest) for each in run.training.datasets]
    wanted += [(each.uid, each.digest) for each in run.training.results]
    if run.training.initial_model is not None:
        wanted.append((run.training.initial_model.uid, run.training.initial_model.digest))
    with _client(broker, token) as client:
        try:
            for number, (uid, digest) in enumerate(wanted):
                client.fetch_version(uid, digest, room / f"data-{number}")
        except BrokerError as error:
            return _failed(client, run, error)
    return Acted(0, "")


def result_of(broker: Place, token: str, run: RunDocument, room: Path, act: Any, stopped: bool) -> Acted:
    """The end: a stored result for code 0, a checkpoint when told to stop and asked to save, and the last words."""
    with _client(broker, token) as client:
        try:
            if stopped:
                return _stop(client, run, room, act)
            if act.code:
                return _end(client, run, EndRecord(code=act.code, reason="Played", message=act.message))
            files = result_files(run)
            manifest = _manifest(run.task.uid, "Result", _written(room / "result", files))
            done = client.publish_result(run.task, run.execution.attempt, room / "result", manifest)
            metrics = [Metric.model_validate(each) for each in act.metrics]
            record = EndRecord(code=0, reason="Completed", digest=done.digest, bytes=done.bytes, metrics=metrics)
            return _end(client, run, record)
        except BrokerError as error:
            return _failed(client, run, error)


def _stop(client: BrokerClient, run: RunDocument, room: Path, act: Any) -> Acted:
    if not act.saves:
        return _end(client, run, EndRecord(code=ExitCode.PREEMPTED_UNSAVED, reason="PreemptedUnsaved"))
    identity, step = run.training_digest(), 10 * run.execution.attempt
    files = {"model.safetensors": b"weights", "state.json": f'{{"step": {step}}}'.encode()}
    manifest = _manifest(run.task.uid, "Checkpoint", _written(room / "checkpoint", files))
    try:
        done = client.publish_checkpoint(run.task, run.execution.attempt, identity, step, room / "checkpoint", manifest)
    except BrokerError:
        return _end(client, run, EndRecord(code=ExitCode.PREEMPTED_UNSAVED, reason="PreemptedUnsaved"))
    kept = CheckpointReference(step=step, digest=done.digest)
    return _end(client, run, EndRecord(code=ExitCode.PREEMPTED, reason="Preempted", step=step, checkpoint=kept))


def _end(client: BrokerClient, run: RunDocument, record: EndRecord) -> Acted:
    """As the trainer does it: the process ends with its own code, whether the broker heard of it or not."""
    whole = record.model_copy(update={"step": record.step or STEPS, "total_steps": STEPS})
    with suppress(BrokerError):
        client.end_attempt(run.task.uid, run.execution.attempt, whole)
    return Acted(int(whole.code), whole.model_dump_json(by_alias=True, exclude_none=True))


def _failed(client: BrokerClient, run: RunDocument, error: BrokerError) -> Acted:
    """As the trainer's table of exits says."""
    code = ExitCode.ACCESS_REFUSED if isinstance(error, AccessRefused) else ExitCode.TRANSIENT
    record = EndRecord(code=code, reason="AccessRefused" if code == ExitCode.ACCESS_REFUSED else "Transient")
    return _end(client, run, record)


def result_files(run: RunDocument) -> dict[str, bytes]:
    """As the trainer stores them; the same for the same task, so that equal runs have equal results."""
    return {
        "metrics.json": b'{"accuracy": "0.8"}',
        "run.json": b"{}",
        "report.txt": b"fine\n",
        "counts/notes-test.safetensors": b"counted",
        "predictions/notes-test.jsonl": b"{}\n",
        "model/config.json": b'{"model_type": "bert"}',
        "model/model.safetensors": f"weights of {run.task.name} ".encode() * 20,
        "DONE": b"{}",
    }


def _written(folder: Path, files: dict[str, bytes]) -> dict[str, bytes]:
    for path, content in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return files


def _manifest(owner: str, kind: Any, files: dict[str, bytes]) -> Manifest:
    entries = [
        FileEntry(path=path, sha256=hashlib.sha256(content).hexdigest(), bytes=len(content), split=None)
        for path, content in files.items()
    ]
    return Manifest(owner_uid=owner, format=kind, files=entries)


def _client(broker: Place, token: str) -> BrokerClient:
    url, authority = broker
    return BrokerClient(url, lambda: token, authority, patience=PATIENCE_SECONDS)

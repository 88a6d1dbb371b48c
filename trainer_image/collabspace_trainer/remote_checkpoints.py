"""Checkpoints at the broker: where they outlive the pod."""

import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from collabspace.api.manifest import Manifest
from collabspace.api.run import CheckpointReference, RunDocument
from collabspace.client.client import BrokerClient
from collabspace.client.protocol import Checkpoint
from collabspace_trainer.file_entries import file_entries
from collabspace_trainer.spec import parents

Connect = Callable[[threading.Event, float], BrokerClient]
"""A client that stops waiting with the event, or after so many seconds without progress."""


@dataclass(frozen=True)
class RemoteCheckpoints:
    """Those of one task and one identity."""

    document: RunDocument
    identity: str
    connect: Connect

    def newest(self, stop: threading.Event, patience: float) -> list[Checkpoint]:
        """Complete ones, newest first. Raises BrokerError."""
        with closing(self.connect(stop, patience)) as broker:
            return broker.checkpoints(self.document.task.uid, self.identity)

    def fetch(self, checkpoint: Checkpoint, into: Path, stop: threading.Event, patience: float) -> None:
        """Raises BrokerError, with the reason of broken bytes when they are not those of the digest."""
        with closing(self.connect(stop, patience)) as broker:
            broker.fetch_version(self.document.task.uid, checkpoint.digest, into)

    def publish(self, folder: Path, step: int, stop: threading.Event, patience: float) -> CheckpointReference:
        """The broker holds it complete afterwards. Raises BrokerError."""
        document = self.document
        manifest = Manifest(
            owner_uid=document.task.uid,
            format="Checkpoint",
            files=file_entries(folder),
            parents=parents(document),
        )
        with closing(self.connect(stop, patience)) as broker:
            done = broker.publish_checkpoint(
                document.task, document.execution.attempt, self.identity, step, folder, manifest
            )
        return CheckpointReference(step=step, digest=done.digest)

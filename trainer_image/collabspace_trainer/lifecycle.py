"""The life of a run, top to bottom: check, fetch, read, train, measure, write, publish, and say how it ended."""

import math
import os
import tempfile
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from collabspace.api.catalogue import Purpose
from collabspace.api.manifest import Digest
from collabspace.api.report import Report
from collabspace.api.run import (
    BROKER_CA_VARIABLE,
    BROKER_URL_VARIABLE,
    TOKEN_FILE_VARIABLE,
    EndRecord,
    ExitCode,
    RunDocument,
)
from collabspace.client.client import BrokerClient
from collabspace.client.errors import BrokerError
from collabspace.client.transport import PATIENCE_SECONDS
from collabspace_trainer import comparing, evaluating, exits, pulse, registry, runtime, spec
from collabspace_trainer.checkpoints import Checkpoints, Place
from collabspace_trainer.course import Course
from collabspace_trainer.errors import ConfigError
from collabspace_trainer.events import Events
from collabspace_trainer.exits import Ending
from collabspace_trainer.identity import identity_of
from collabspace_trainer.measuring import judge, measure, scorer
from collabspace_trainer.pulse import WAITING_STALL_SECONDS, Pulse
from collabspace_trainer.remote_checkpoints import RemoteCheckpoints
from collabspace_trainer.report import end_metrics, make_report
from collabspace_trainer.result import check_empty, write_result
from collabspace_trainer.session import Session
from collabspace_trainer.stop import Stop
from collabspace_trainer.versions import Folders, Inputs, fetch, open_folders

UPLOAD_PATIENCE_SECONDS = 30.0
"""How long a run that failed waits for a checkpoint that is on its way: another attempt may go on from it."""
END_PATIENCE_SECONDS = 30.0
"""How long a finished run waits to say so: the termination message says the same."""


class Run:
    """One attempt. `read` gives the run document; without `folders` it is a pod, with the broker as the only door."""

    def __init__(self, read: Callable[[], RunDocument], stop: Stop, folders: Folders | None = None) -> None:
        self._read = read
        self._stop = stop
        self._folders = folders
        self._events = Events()
        self._course = Course()
        self._document: RunDocument | None = None
        self._meter: runtime.Meter | None = None
        self._report: Report | None = None
        self._checkpoints: Checkpoints | None = None
        self._stored: tuple[Digest, int] | None = None

    def execute(self) -> ExitCode:
        """Runs to the end and tells how it was: last line, termination message, end record. Never raises."""
        try:
            ending = self._live()
        except BaseException as error:
            ending = exits.ending_of(error)
            if ending.signature is not None:
                self._events.trace(error)
        self._stop.ignore()
        self._tell_end(ending)
        return ending.code

    def _live(self) -> Ending:
        """Checkpoints live in a folder that goes with the run, so that it is left in order here."""
        with ExitStack() as stack:
            try:
                ending = self._work(stack)
            except BaseException:
                # Libraries make what they like of an interruption, even an ImportError: the signal decides.
                if self._stop.requested.is_set():
                    kept = self._checkpoints.leave() if self._checkpoints else None
                    return exits.preempted(kept.step if kept else None)
                if self._checkpoints is not None:
                    self._checkpoints.settle(UPLOAD_PATIENCE_SECONDS)
                raise
            if self._checkpoints is not None:
                self._checkpoints.settle(0)
            return ending

    def _work(self, stack: ExitStack) -> Ending:
        with self._stop.at_once():
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="collabspace-")))
            session, corpus = self._prepare(scratch)
        predictor = session.plan.method.train(corpus, session, scorer(session, corpus))
        # From here on the weights are final: whatever is interrupted can be done again from the last checkpoint.
        with self._stop.at_once():
            measured = measure(session, corpus, predictor)
            report = self._report = make_report(session, corpus, measured, predictor.parameters)
            session.pulse.enter("Publish", WAITING_STALL_SECONDS)
            out = self._folders.out if self._folders else scratch / "result"
            manifest = write_result(out, session, report, measured, predictor)
            if self._folders is None:
                document = session.plan.document
                with _broker(self._stop.requested, worked=pulse.beat) as broker:
                    broker.publish_result(document.task, document.execution.attempt, out, manifest)
            self._stored = (manifest.digest, manifest.size)
        return judge(session, report)

    def _prepare(self, scratch: Path) -> tuple[Session, Any]:
        """The document is checked before anything heavy is imported, the data before anything is learnt."""
        document = self._document = self._read()
        self._meter = runtime.Meter(document.execution)
        if self._folders is None:
            self._events = self._open_events(document)
        heart = Pulse(self._events, self._course)
        pulse.start(heart)
        plan = spec.plan(document)
        runtime.prepare_environment(document.execution.threads)
        heart.enter("Fetch", WAITING_STALL_SECONDS)
        inputs, checkpoints = self._inputs(plan, scratch)
        plan = replace(plan, document=inputs.document)
        heart.enter("Prepare")
        model, gradients = None, plan.method.gradients
        match plan.purpose:
            case Purpose.COMPARISON:
                corpus: Any = comparing.read(plan, inputs.results)
            case Purpose.EVALUATION:
                examined = evaluating.read(plan, inputs)
                plan, corpus, model = examined.plan, examined.corpus, examined.model
                gradients = registry.method_of(model).gradients
            case _:
                corpus = plan.task.implementation.load(plan, inputs.versions)
        for note in corpus.notes:
            self._events.note(note)
        machine = runtime.choose(document.execution, gradients, self._events)
        session = Session(
            plan=plan,
            runtime=machine,
            events=self._events,
            pulse=heart,
            stop=self._stop,
            meter=self._meter,
            course=self._course,
            checkpoints=checkpoints,
            model_folder=inputs.model_folder,
            stored=model,
        )
        return session, corpus

    def _inputs(self, plan: spec.Plan, scratch: Path) -> tuple[Inputs, Checkpoints]:
        """What the run reads. At the broker the checkpoints are looked up first: to leave early may be to have one."""
        given = self._folders
        if given is not None:
            check_empty(given.out)
            inputs = open_folders(plan, given, scratch)
            return inputs, self._open_checkpoints(inputs.document, scratch, plan.method.gradients)
        checkpoints = self._open_checkpoints(plan.document, scratch, plan.method.gradients)
        checkpoints.look()
        with _broker(self._stop.requested, worked=pulse.beat) as broker:
            return fetch(plan, broker, scratch), checkpoints

    def _open_checkpoints(self, document: RunDocument, scratch: Path, steps: bool) -> Checkpoints:
        """Methods without steps have none: they start again."""
        identity = identity_of(document)
        folder = scratch / "checkpoints"
        place: Place = "Nowhere"
        if steps and self._folders is None:
            place = RemoteCheckpoints(document, identity, _broker)
        elif steps and self._folders is not None and self._folders.checkpoints is not None:
            folder, place = self._folders.checkpoints.absolute() / identity, "Folder"
            self._events.decision("checkpoints", str(folder), "--checkpoints, and the identity of this training")
        self._checkpoints = Checkpoints(identity, folder, place, document.execution, self._stop, self._events)
        return self._checkpoints

    def _open_events(self, document: RunDocument) -> Events:
        broker, task, attempt = _broker(self._stop.requested), document.task.uid, document.execution.attempt
        return Events(lambda progress: broker.report_progress(task, attempt, progress))

    def _tell_end(self, ending: Ending) -> None:
        message = exits.shortened(ending.message)
        self._events.end(ending.reason, int(ending.code), message)
        digest, size = self._stored or (None, 0)
        micro_batch = self._course.micro_batch_size
        record = EndRecord(
            code=int(ending.code),
            reason=ending.reason,
            message=message,
            metrics=end_metrics(self._report) if self._report else [],
            digest=digest,
            bytes=size,
            step=self._course.step,
            total_steps=self._course.total_steps,
            peak_memory_bytes=runtime.peak_memory_bytes(),
            suggested_micro_batch=micro_batch // 2 or None if ending.code is ExitCode.OUT_OF_MEMORY else None,
            checkpoint=self._checkpoints.complete if self._checkpoints else None,
            save_seconds=math.ceil(self._checkpoints.save_seconds) if self._checkpoints else 0,
            signature=ending.signature,
            cpu_seconds=round(runtime.cpu_seconds()),
            gpu_seconds=round(self._meter.gpu_seconds) if self._meter else 0,
        )
        try:
            exits.write_termination_message(record)
            if self._folders is None and self._document is not None:
                self._post_end(self._document, record)
        except (BrokerError, OSError, ConfigError) as error:
            self._events.note(f"the end could not be told everywhere ({type(error).__name__})")
        self._events.close()

    def _post_end(self, document: RunDocument, record: EndRecord) -> None:
        with _broker(self._stop.requested, END_PATIENCE_SECONDS) as broker:
            broker.end_attempt(document.task.uid, document.execution.attempt, record)


def _broker(
    stop: threading.Event, patience: float = PATIENCE_SECONDS, worked: Callable[[], None] = lambda: None
) -> BrokerClient:
    """The broker that the pod was told of; `worked` hears of each request. Raises ConfigError."""
    url, token_file = os.environ.get(BROKER_URL_VARIABLE), os.environ.get(TOKEN_FILE_VARIABLE)
    if not url or not token_file:
        missing = TOKEN_FILE_VARIABLE if url else BROKER_URL_VARIABLE
        raise ConfigError(f"environment variable {missing} is missing; the operator sets it in every pod")
    file = Path(token_file)

    def token() -> str:
        worked()
        return file.read_text().strip()

    return BrokerClient(url, token, os.environ.get(BROKER_CA_VARIABLE), patience=patience, stop=stop)

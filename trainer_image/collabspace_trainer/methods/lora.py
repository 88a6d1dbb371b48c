"""LoRA: small matrices beside the frozen weights of an encoder learn (Hu et al. 2021); the artefact is these alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from collabspace.api.catalogue import Method
from collabspace.api.run import InitialModel
from collabspace_trainer.errors import DataError
from collabspace_trainer.evaluation.spans import tag_set
from collabspace_trainer.methods import predictors
from collabspace_trainer.methods.predictors import Classifying, Tagging
from collabspace_trainer.parameters import choice, gradient_parameters, integer, number
from collabspace_trainer.registry import method
from collabspace_trainer.session import Session
from collabspace_trainer.stored import StoredModel
from collabspace_trainer.stored_results import base_of
from collabspace_trainer.tasks.text_classification import Texts
from collabspace_trainer.tasks.token_classification import Sentences

if TYPE_CHECKING:
    from collabspace_trainer.methods.adapter import Adapter
    from collabspace_trainer.methods.encoder import Encoder, Head
    from collabspace_trainer.runtime import Runtime

NAME = "LoRA"
DESCRIPTION = (
    "Trains small matrices beside the frozen weights of a given encoder; the result is under 2 MB and needs that model."
)
PARAMETERS = [
    *gradient_parameters(
        epochs=3,
        batch_size=16,
        learning_rate=number("learningRate", "0.0005", "0.0000001", "1", "Step size."),
        optimizers=["AdamW", "Adam", "Adafactor", "SGD"],
        schedulers=["Linear", "Constant", "Cosine"],
    ),
    number("dropout", "0.1", "0", "0.9", "Part of the activations that is set to zero while training."),
    integer(
        "maxLength", 128, 16, 512, "Word pieces at once; tagged sentences go on in further windows, other texts end."
    ),
    integer("rank", 8, 1, 256, "Rank of the matrices: how much may change."),
    integer("alpha", 16, 1, 1024, "Their change counts alpha / rank."),
    choice("targetModules", ["All", "Attention"], "Which linear layers get them."),
    choice(
        "merge", ["No", "Yes"], "Yes adds them to the weights in the end: a whole model, that can be used on its own."
    ),
]


METHOD = Method(name=NAME, description=DESCRIPTION, parameters=PARAMETERS, needs_weights=True, cost=360)


@dataclass(frozen=True)
class AdaptedTagging(Tagging):
    """Tags of words; kept without the weights that the adapter belongs to."""

    adapter: "Adapter"

    @property
    def parameters(self) -> int:
        return self.adapter.parameters

    def save(self, folder: Path) -> None:
        self.adapter.save(folder, "TokenClassification", self.labels)


@dataclass(frozen=True)
class AdaptedClassifying(Classifying):
    """Classes of texts; kept without the weights that the adapter belongs to."""

    adapter: "Adapter"

    @property
    def parameters(self) -> int:
        return self.adapter.parameters

    def save(self, folder: Path) -> None:
        self.adapter.save(folder, "TextClassification", self.labels)


def load_tagging(model: StoredModel, machine: "Runtime") -> Tagging:
    """Raises DataError, also when the weights that the adapter belongs to are not at hand."""
    if base_of(model.folder) is None:
        return predictors.load_tagging(model, machine)
    from collabspace_trainer.methods import adapter
    from collabspace_trainer.methods.tagging import TagModel

    labels = model.description.labels
    made = adapter.load(model, tag_set(labels), "Tags")
    return AdaptedTagging(TagModel(made.encoder, machine), NAME, labels, made)


def load_classifying(model: StoredModel, machine: "Runtime") -> Classifying:
    """Raises DataError, also when the weights that the adapter belongs to are not at hand."""
    if base_of(model.folder) is None:
        return predictors.load_classifying(model, machine)
    from collabspace_trainer.methods import adapter
    from collabspace_trainer.methods.classifying import ClassModel

    labels = model.description.labels
    made = adapter.load(model, labels, "Classes")
    return AdaptedClassifying(ClassModel(made.encoder, machine), NAME, labels, made)


@method(METHOD, ["TokenClassification"], load_tagging)
def train_tagger(corpus: Sentences, session: Session, score: Callable[[Tagging], float] | None) -> Tagging:
    """Raises DataError, ConfigError, DivergedError, Terminated."""
    with session.stop.at_once():
        from collabspace_trainer import loop
        from collabspace_trainer.methods.tagging import TagLearner

        adapter = _adapter(corpus.tags, session, "Tags")
        learner = TagLearner(adapter.encoder, corpus, session)
    tagging = AdaptedTagging(learner.tagger, NAME, corpus.labels, adapter)
    rules = loop.recipe(session, session.plan.settings.number("learningRate"), "parameters.learningRate")
    loop.train(learner, rules, session, (lambda: score(tagging)) if score else None)
    if session.plan.settings.choice("merge") == "No":
        return tagging
    adapter.merge()
    return Tagging(learner.tagger, NAME, corpus.labels)


@method(METHOD, ["TextClassification"], load_classifying)
def train_classifier(corpus: Texts, session: Session, score: Callable[[Classifying], float] | None) -> Classifying:
    """Raises DataError, ConfigError, DivergedError, Terminated."""
    with session.stop.at_once():
        from collabspace_trainer import loop
        from collabspace_trainer.methods.classifying import ClassLearner

        adapter = _adapter(corpus.labels, session, "Classes")
        learner = ClassLearner(adapter.encoder, corpus, session)
    classifying = AdaptedClassifying(learner.classifier, NAME, corpus.labels, adapter)
    rules = loop.recipe(session, session.plan.settings.number("learningRate"), "parameters.learningRate")
    loop.train(learner, rules, session, (lambda: score(classifying)) if score else None)
    if session.plan.settings.choice("merge") == "No":
        return classifying
    adapter.merge()
    return Classifying(learner.classifier, NAME, corpus.labels)


def _adapter(labels: Sequence[str], session: Session, head: "Head") -> "Adapter":
    import torch

    from collabspace_trainer.methods import adapter, encoder

    base, folder = session.plan.document.training.initial_model, session.model_folder
    if base is None or folder is None:
        raise DataError("training.initialModel is missing; name the weights to adapt")
    settings = session.plan.settings
    torch.manual_seed(session.plan.document.training.seed)
    dropout, length = settings.number("dropout"), settings.integer("maxLength")
    loaded: Encoder = encoder.load(folder, labels, dropout, length, head)
    shape = adapter.Shape(
        settings.integer("rank"), settings.integer("alpha"), dropout, adapter.targets(loaded, settings)
    )
    made = adapter.make(loaded, shape, InitialModel(uid=base.uid, digest=base.digest), length)
    session.events.decision("learnt", made.parameters, f"numbers in {len(shape.modules)} layers and the new top")
    return made

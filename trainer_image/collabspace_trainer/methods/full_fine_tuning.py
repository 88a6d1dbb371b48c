"""FullFineTuning: every weight of an encoder learns, from given weights or from random ones."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from collabspace.api.catalogue import Method
from collabspace_trainer import parameters
from collabspace_trainer.methods import predictors
from collabspace_trainer.methods.predictors import Classifying, Tagging
from collabspace_trainer.parameters import gradient_parameters, integer, number
from collabspace_trainer.registry import method
from collabspace_trainer.session import Session
from collabspace_trainer.tasks.text_classification import Texts
from collabspace_trainer.tasks.token_classification import Sentences

if TYPE_CHECKING:
    from collabspace_trainer.methods.encoder import Encoder, Head

NAME = "FullFineTuning"
LARGE_MODEL = 50_000_000
DESCRIPTION = "Trains all weights of a transformer encoder: of a given model, or of a small one from random weights."
PARAMETERS = [
    *gradient_parameters(
        epochs=3,
        batch_size=16,
        learning_rate=number(
            "learningRate",
            parameters.AUTOMATIC,
            "0",
            "1",
            "Step size. 0 chooses: 1e-4 below 50 million weights, 2e-5 above, 1e-3 from random weights.",
        ),
        optimizers=["AdamW", "Adam", "Adafactor", "SGD"],
        schedulers=["Linear", "Constant", "Cosine"],
    ),
    number("dropout", "0.1", "0", "0.9", "Part of the activations that is set to zero while training."),
    integer(
        "maxLength", 128, 16, 512, "Word pieces at once; tagged sentences go on in further windows, other texts end."
    ),
    integer("hiddenSize", 128, 16, 1024, "Width of an encoder that starts from random weights."),
    integer("layers", 2, 1, 24, "Layers of an encoder that starts from random weights."),
    integer("heads", 2, 1, 16, "Attention heads per layer of an encoder that starts from random weights."),
    integer(
        "vocabularySize", 1000, 100, 100_000, "Most word pieces learnt when the encoder starts from random weights."
    ),
]


METHOD = Method(name=NAME, description=DESCRIPTION, parameters=PARAMETERS, accepts_weights=True, cost=400)


@method(METHOD, ["TokenClassification"], predictors.load_tagging)
def train_tagger(corpus: Sentences, session: Session, score: Callable[[Tagging], float] | None) -> Tagging:
    """Raises DataError, ConfigError, DivergedError, Terminated."""
    with session.stop.at_once():
        import torch

        from collabspace_trainer import loop
        from collabspace_trainer.methods.tagging import TagLearner

        torch.manual_seed(session.plan.document.training.seed)
        encoder = _encoder([sentence.tokens for sentence in corpus.train], corpus.tags, session, "Tags")
        rate, why = _learning_rate(encoder.parameters, session)
        learner = TagLearner(encoder, corpus, session)
    tagging = Tagging(learner.tagger, NAME, corpus.labels)
    rules = loop.recipe(session, rate, why)
    loop.train(learner, rules, session, (lambda: score(tagging)) if score else None)
    return tagging


@method(METHOD, ["TextClassification"], predictors.load_classifying)
def train_classifier(corpus: Texts, session: Session, score: Callable[[Classifying], float] | None) -> Classifying:
    """Raises DataError, ConfigError, DivergedError, Terminated."""
    with session.stop.at_once():
        import torch

        from collabspace_trainer import loop
        from collabspace_trainer.methods.classifying import ClassLearner

        torch.manual_seed(session.plan.document.training.seed)
        encoder = _encoder([[record.text] for record in corpus.train], corpus.labels, session, "Classes")
        rate, why = _learning_rate(encoder.parameters, session)
        learner = ClassLearner(encoder, corpus, session)
    classifying = Classifying(learner.classifier, NAME, corpus.labels)
    rules = loop.recipe(session, rate, why)
    loop.train(learner, rules, session, (lambda: score(classifying)) if score else None)
    return classifying


def _encoder(texts: Sequence[Sequence[str]], labels: Sequence[str], session: Session, head: "Head") -> "Encoder":
    from collabspace_trainer.methods import encoder

    settings = session.plan.settings
    dropout, maximum = settings.number("dropout"), settings.integer("maxLength")
    if session.model_folder is not None:
        loaded = encoder.load(session.model_folder, labels, dropout, maximum, head)
        session.events.decision("maxLength", loaded.maximum, "parameters.maxLength, as far as the model has positions")
        return loaded
    size = encoder.Size(
        settings.integer("hiddenSize"),
        settings.integer("layers"),
        settings.integer("heads"),
        settings.integer("vocabularySize"),
    )
    made = encoder.make(texts, labels, size, dropout, maximum, head)
    pieces = made.tokenizer.get_vocab_size()
    session.events.decision("vocabulary", pieces, "word pieces of terms that stand in at least 5 training records")
    return made


def _learning_rate(size: int, session: Session) -> tuple[float, str]:
    asked = session.plan.settings.number("learningRate")
    if asked > 0:
        return asked, "parameters.learningRate"
    if session.model_folder is None:
        return 1e-3, "weights start at random"
    if size < LARGE_MODEL:
        return 1e-4, f"{size} weights, fewer than 50 million"
    return 2e-5, f"{size} weights, 50 million or more"

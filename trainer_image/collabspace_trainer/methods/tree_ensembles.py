"""RandomForest and GradientBoosting: baselines that find out by themselves which numbers act together."""

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from collabspace.api.catalogue import Method
from collabspace.api.manifest import TargetKind
from collabspace_trainer.methods import ensembles, features, text_features
from collabspace_trainer.methods.ensembles import BOOSTING_PARAMETERS, FOREST_PARAMETERS
from collabspace_trainer.methods.estimator import Estimator, Link, load_estimator
from collabspace_trainer.methods.trees import Trees
from collabspace_trainer.parameters import integer
from collabspace_trainer.pulse import UNBOUNDED_STALL_SECONDS
from collabspace_trainer.registry import method
from collabspace_trainer.session import Session
from collabspace_trainer.tasks.tabular import Tables
from collabspace_trainer.tasks.text_classification import Texts

FOREST, BOOSTING = "RandomForest", "GradientBoosting"
Grow = Callable[[Any, NDArray[Any], int, Session], Trees]
Score = Callable[[Estimator], float] | None


@method(
    Method(
        name=FOREST,
        description="Many decision trees over random parts of the rows and columns, whose mean counts (scikit-learn).",
        parameters=FOREST_PARAMETERS,
        baseline=True,
        cost=3,
    ),
    ["Tabular"],
    load_estimator,
    gradients=False,
)
def grow_on_rows(corpus: Tables, session: Session, _score: Score) -> Estimator:
    return _from_rows(FOREST, corpus, session, ensembles.grow_forest)


@method(
    Method(
        name=BOOSTING,
        description="Decision trees in a row, each correcting those before (scikit-learn, histograms).",
        parameters=BOOSTING_PARAMETERS,
        baseline=True,
        cost=2,
    ),
    ["Tabular"],
    load_estimator,
    gradients=False,
)
def boost_on_rows(corpus: Tables, session: Session, _score: Score) -> Estimator:
    return _from_rows(BOOSTING, corpus, session, ensembles.boost)


@method(
    Method(
        name=FOREST,
        description="Many decision trees over the words and word pairs of a text, weighed by TF-IDF (scikit-learn).",
        parameters=[*text_features.PARAMETERS, *FOREST_PARAMETERS],
        baseline=True,
        cost=30,
    ),
    ["TextClassification"],
    load_estimator,
    gradients=False,
)
def grow_on_texts(corpus: Texts, session: Session, _score: Score) -> Estimator:
    """Raises DataError when the texts share no term."""
    with session.stop.at_once():
        made = text_features.learn([record.text for record in corpus.train], session)
    return _from_texts(FOREST, corpus, made, session, ensembles.grow_forest)


@method(
    Method(
        name=BOOSTING,
        description="Decision trees in a row over the main directions of TF-IDF "
        "(scikit-learn, truncated SVD, histograms).",
        parameters=[
            *text_features.PARAMETERS,
            integer("components", 100, 1, 1_000, "Directions of most spread that are kept of the terms."),
            *BOOSTING_PARAMETERS,
        ],
        baseline=True,
        cost=4,
    ),
    ["TextClassification"],
    load_estimator,
    gradients=False,
)
def boost_on_texts(corpus: Texts, session: Session, _score: Score) -> Estimator:
    """Raises DataError when the texts share no term."""
    session.pulse.enter("Train", UNBOUNDED_STALL_SECONDS)
    with session.stop.at_once():
        texts = [record.text for record in corpus.train]
        components, seed = session.plan.settings.integer("components"), session.plan.document.training.seed
        made = text_features.project(text_features.learn(texts, session), texts, components, seed)
    return _from_texts(BOOSTING, corpus, made, session, ensembles.boost)


def _from_rows(name: str, corpus: Tables, session: Session, grow: Grow) -> Estimator:
    session.pulse.enter("Train", UNBOUNDED_STALL_SECONDS)
    numeric = corpus.target.kind is TargetKind.NUMBER
    made = features.fit(corpus.train, corpus.features)
    labels = [] if numeric else list(corpus.labels)
    head = grow(made.encode(corpus.train), corpus.train.target, len(labels), session)
    link: Link = "Estimate" if numeric else _link(name)
    return Estimator("Tabular", name, labels, made, head, link, corpus.target.column)


def _from_texts(name: str, corpus: Texts, made: text_features.TextFeatures, session: Session, grow: Grow) -> Estimator:
    session.pulse.enter("Train", UNBOUNDED_STALL_SECONDS)
    values = made.encode([record.text for record in corpus.train])
    head = grow(values, corpus.classes(corpus.train), len(corpus.labels), session)
    return Estimator("TextClassification", name, list(corpus.labels), made, head, _link(name))


def _link(name: str) -> Link:
    return "Shares" if name == FOREST else "Logits"

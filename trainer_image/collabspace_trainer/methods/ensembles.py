"""RandomForest and GradientBoosting as scikit-learn learns them, turned into arrays."""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collabspace_trainer.methods.layers import ABSENT
from collabspace_trainer.methods.trees import LEAF, Part, Trees, join
from collabspace_trainer.parameters import CLASS_WEIGHTS, integer, number
from collabspace_trainer.session import Session

FOREST_PARAMETERS = [
    integer("trees", 200, 1, 10_000, "Trees that vote."),
    integer("minRecordsPerLeaf", 1, 1, 1_000_000, "Records that each side of a split keeps at least."),
    CLASS_WEIGHTS,
]
BOOSTING_PARAMETERS = [
    integer("iterations", 100, 1, 10_000, "Trees in a row, for each class, each correcting those before."),
    number("learningRate", "0.1", "0.000001", "1", "Part of each tree's correction that is used."),
    integer("leaves", 31, 2, 10_000, "Leaves of a tree at most."),
    integer("minRecordsPerLeaf", 20, 1, 1_000_000, "Records that each side of a split keeps at least."),
    CLASS_WEIGHTS,
]


def grow_forest(values: Any, target: NDArray[Any], classes: int, session: Session) -> Trees:
    """Trees whose sums are the classes' shares, or, without classes, the estimate."""
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    settings = session.plan.settings
    common = {
        "n_estimators": settings.integer("trees"),
        "min_samples_leaf": settings.integer("minRecordsPerLeaf"),
        "random_state": session.plan.document.training.seed,
        "n_jobs": session.runtime.threads,
    }
    if classes:
        model = RandomForestClassifier(class_weight=_class_weight(session), **common)
    else:
        model = RandomForestRegressor(**common)
    _fit(model, values, target, session)
    return forest_arrays(model, classes)


def forest_arrays(model: Any, classes: int) -> Trees:
    """A fitted forest of scikit-learn over class numbers below `classes`, or over quantities when that is 0."""
    present = np.asarray(model.classes_, dtype=np.intp) if classes else np.zeros(1, dtype=np.intp)
    parts = [_forest_part(tree.tree_, present, classes or 1, len(model.estimators_)) for tree in model.estimators_]
    return join(parts, [0] * len(parts), np.zeros(classes or 1))


def boost(values: NDArray[Any], target: NDArray[Any], classes: int, session: Session) -> Trees:
    """Trees whose sums are the classes' logits, or, without classes, the estimate."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    settings = session.plan.settings
    common = {
        "max_iter": settings.integer("iterations"),
        "learning_rate": settings.number("learningRate"),
        "max_leaf_nodes": settings.integer("leaves"),
        "min_samples_leaf": settings.integer("minRecordsPerLeaf"),
        "early_stopping": False,
        "random_state": session.plan.document.training.seed,
    }
    if classes:
        model = HistGradientBoostingClassifier(class_weight=_class_weight(session), **common)
    else:
        model = HistGradientBoostingRegressor(**common)
    _fit(model, values, target, session)
    return boosting_arrays(model, classes)


def boosting_arrays(model: Any, classes: int) -> Trees:
    """The same of fitted gradient boosting over histograms."""
    base = np.full(classes or 1, ABSENT)
    columns = [0]
    if classes:
        present = [int(number) for number in model.classes_]
        columns = present[1:] if len(present) == 2 else present  # of two it learns the second alone
        base[present] = 0.0
    base[columns] = model._baseline_prediction.ravel()
    rounds = [list(zip(stage, columns, strict=True)) for stage in model._predictors]
    parts = [(_boosting_part(tree.nodes), column) for stage in rounds for tree, column in stage]
    return join([part for part, _ in parts], [column for _, column in parts], base)


def _fit(model: Any, values: Any, target: NDArray[Any], session: Session) -> None:
    with session.stop.at_once(), warnings.catch_warnings():
        # scikit-learn's own threads forget its settings when it is interrupted; nobody needs to hear of that.
        warnings.filterwarnings("ignore", message=".*sklearn.utils.parallel.*")
        model.fit(values.astype(np.float32), target)  # as Trees compares them


def _class_weight(session: Session) -> str | None:
    return "balanced" if session.plan.settings.choice("classWeights") == "Balanced" else None


def _forest_part(tree: Any, present: NDArray[np.intp], outputs: int, trees: int) -> Part:
    leaf = tree.children_left == LEAF
    value = np.zeros((tree.node_count, outputs))
    value[:, present] = tree.value[:, 0, :] / trees
    return np.where(leaf, LEAF, tree.feature), tree.threshold, tree.children_left, tree.children_right, value


def _boosting_part(nodes: NDArray[Any]) -> Part:
    feature = np.where(nodes["is_leaf"], LEAF, nodes["feature_idx"].astype(np.int64))
    left, right = nodes["left"].astype(np.int64), nodes["right"].astype(np.int64)
    return feature, nodes["num_threshold"], left, right, nodes["value"][:, None]

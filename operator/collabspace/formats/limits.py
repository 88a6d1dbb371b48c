"""Bounds on what a push may hold: each keeps one hostile file from filling memory, disk or a message."""

from typing import Final

MAX_TOTAL_BYTES: Final = 20 * 10**9
"""Bytes of one version after decompression."""
MAX_FILES: Final = 10_000
MAX_RECORDS: Final = 50_000_000
MAX_DEPTH: Final = 16
"""Folders inside folders."""
MAX_PATH_CHARACTERS: Final = 1_024
"""Of a file, relative to the pushed folder: what a manifest can hold."""
MAX_LINE_BYTES: Final = 1_000_000
MAX_README_BYTES: Final = 1_000_000
MAX_JSON_BYTES: Final = 64 * 2**20
"""A JSON file that is read whole: `labels.json`, the configuration and tokenizer of a model."""

MAX_TOKENS: Final = 10_000
"""Tokens of one sentence."""
MAX_TOKEN_CHARACTERS: Final = 1_000
MAX_NAME_CHARACTERS: Final = 128
"""An entity type, class or column name."""
MAX_KEY_CHARACTERS: Final = 256
"""A record's group or id."""
MAX_LABELS: Final = 1_000

MAX_COLUMNS: Final = 2_000
MAX_CELL_CHARACTERS: Final = 131_072
"""The csv module's own bound; Parquet cells get the same."""

MAX_HEADER_BYTES: Final = 100_000_000
"""Header of a safetensors file, the bound of the format's reference reader."""

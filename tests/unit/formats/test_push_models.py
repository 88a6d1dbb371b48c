"""Model folders: exactly the allowed files, nothing that runs code, weights proven to be safetensors."""

import json
import struct
from collections.abc import Callable

import numpy as np
import pytest
from safetensors.numpy import save

from collabspace.formats import check, model_files

Files = dict[str, str | bytes]


def _weights(*names: str) -> bytes:
    return save({name: np.arange(6, dtype=np.float32).reshape(2, 3) for name in names or ("w",)})


def _model(**other: str | bytes) -> Files:
    files: Files = {
        "config.json": '{"model_type": "bert", "hidden_size": 32}',
        "tokenizer.json": '{"model": {"vocab": {"auto_map": 0}}}',
        "tokenizer_config.json": "{}",
        "model.safetensors": _weights("a", "b"),
    }
    return files | other


def _sharded() -> Files:
    files = _model()
    del files["model.safetensors"]
    weight_map = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    shards: Files = {shard: _weights(name) for name, shard in weight_map.items()}
    return files | shards | {"model.safetensors.index.json": json.dumps({"weight_map": weight_map})}


def _adapter() -> Files:
    files = _model()
    del files["model.safetensors"]
    return files | {"adapter_config.json": '{"peft_type": "LORA"}', "adapter_model.safetensors": _weights()}


@pytest.mark.parametrize("build", [_model, _sharded, _adapter])
def test_each_form_of_weights_is_kept_as_it_is(work, build: Callable[[], Files]) -> None:
    source = build()
    pushed = work.model(source | {"README.md": "card", "LICENSE": "free", ".gitattributes": "x"})
    assert {file.path for file in pushed.manifest.files} == set(source)
    assert pushed.prepared.readme == "card"
    assert pushed.manifest.split_mode == "None"
    check(pushed.folder, pushed.manifest)
    found = {path.relative_to(pushed.folder).as_posix(): path for path in model_files(pushed.folder, pushed.manifest)}
    for name, content in source.items():
        assert found[name].read_bytes() == (content.encode() if isinstance(content, str) else content)


def test_every_optional_file_is_allowed(work) -> None:
    names = [
        "labels.json",
        "special_tokens_map.json",
        "generation_config.json",
        "modules.json",
        "1_Pooling/config.json",
    ]
    names += ["sentence_bert_config.json", "config_sentence_transformers.json", "data_config.json"]
    pushed = work.model(_model(**dict.fromkeys(names, "{}"), **{"vocab.txt": "[PAD]\n"}))
    assert {file.path for file in pushed.manifest.files} == {*_model(), *names, "vocab.txt"}
    check(pushed.folder, pushed.manifest)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pytorch_model.bin", "is a format that can run code when it is loaded"),
        ("model.pt", "is a format that can run code when it is loaded"),
        ("optimizer.pkl", "is a format that can run code when it is loaded"),
        ("tf_model.H5", "is a format that can run code when it is loaded"),
        ("modeling_evil.py", "is code, which a model must not bring along"),
        ("merges.txt", "is no file of a model"),
        ("sub/model.safetensors", "is no file of a model"),
        ("sub/config.json", "is no file of a model"),
        ("2_Dense/config.json", "is no file of a model"),
        ("sub/sentence.json", "is no file of a model"),
        ("model-1-of-2.safetensors", "is no file of a model"),
        ("docs/README.md", "is no file of a model"),
    ],
)
def test_any_other_file_is_refused_by_name(work, refused, name: str, message: str) -> None:
    (line,) = refused(work.model, _model(**{name: b"x"}))
    assert line.startswith(f"{name}: {message}")


def test_a_link_is_refused(work, refused) -> None:
    folder = work.source(_model())
    (folder / "vocab.txt").symlink_to(folder / "config.json")
    assert refused(work.model, folder) == ["vocab.txt: is a link. Copy what it points to in its place (cp -L)."]


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json"])
def test_a_required_file_must_be_there(work, refused, name: str) -> None:
    files = _model()
    del files[name]
    assert refused(work.model, files) == [f"{name}: the file is missing. Save model and tokenizer into the folder."]


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "generation_config.json", "my_sentence.json"])
@pytest.mark.parametrize("document", ['{"auto_map": {}, "model_type": "x"}', '{"model_type":"x","a":[{"auto_map":1}]}'])
def test_auto_map_is_refused_at_any_depth_of_any_configuration(work, refused, name: str, document: str) -> None:
    (line,) = refused(work.model, _model(**{name: document}))
    assert line.startswith(f'{name}: holds "auto_map", which loads code.')


@pytest.mark.parametrize(
    ("name", "document", "field"),
    [
        ("config.json", '{"model_type": "x", "custom_pipelines": {"p": {"impl": "pipe.P"}}}', "custom_pipelines"),
        ("modules.json", '[{"idx": 0, "type": "os.system"}]', "type"),
        ("modules.json", '[{"type": "sentence_transformers_evil.Pooling"}]', "type"),
        ("modules.json", '[{"type": ["sentence_transformers.models.Pooling"]}]', "type"),
        (
            "adapter_config.json",
            '{"auto_mapping": {"parent_library": "evil", "base_model_class": "B"}}',
            "parent_library",
        ),
    ],
)
def test_a_configuration_that_names_code_of_elsewhere_is_refused(
    work, refused, name: str, document: str, field: str
) -> None:
    files = (_adapter() if name.startswith("adapter") else _model()) | {name: document}
    (line,) = refused(work.model, files)
    assert line.startswith(f"{name}: holds ") and f'"{field}"' in line


def test_parts_of_the_known_libraries_may_be_named(work) -> None:
    modules = '[{"type": "sentence_transformers.models.Transformer"}, {"type": "sentence_transformers.models.Pooling"}]'
    work.model(_model(**{"modules.json": modules}))


def test_an_adapter_may_name_the_library_of_its_base(work) -> None:
    named = '{"peft_type": "LORA", "auto_mapping": {"parent_library": "transformers.models.bert.modeling_bert"}}'
    work.model(_adapter() | {"adapter_config.json": named})


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("{}", 'config.json: has no "model_type"'),
        ("[]", 'config.json: has no "model_type"'),
        ('{"model_type": ""}', 'config.json: has no "model_type"'),
        ("{", "config.json: is not JSON"),
        ('{"model_type": "a", "model_type": "b"}', "config.json: holds a field twice"),
        (b"\xff\xfe", "config.json: is not UTF-8"),
    ],
)
def test_a_broken_configuration_is_refused(work, refused, document: str | bytes, message: str) -> None:
    (line,) = refused(work.model, _model(**{"config.json": document}))
    assert line.startswith(message)


def test_a_file_instead_of_a_folder_is_refused(work, refused) -> None:
    folder = work.source(_model())
    assert refused(work.model, folder / "model.safetensors")[0].startswith("model.safetensors: is no folder.")


# Weights


def _file(header: object, data: bytes = b"") -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + data


def _tensor(begin: int, end: int, shape: list[int], dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the header's length is beyond the file or the bound"),
        (b"\x80\x04\x95", "the header's length is beyond the file or the bound"),
        (b"PK\x03\x04" + b"\x00" * 60, "the header's length is beyond the file or the bound"),
        (struct.pack("<Q", 2**63) + b"{}", "the header's length is beyond the file or the bound"),
        (struct.pack("<Q", 3) + b"{}", "the header's length is beyond the file or the bound"),
        (_file(b"[]"), "its header is no JSON object"),
        (_file(b" {}"), "its header is no JSON object"),
        (_file(b'{"a":1,"a":2}'), "its header is no JSON"),
        (_file({}), "holds no tensor"),
        (_file({"__metadata__": {"x": 1}}), "has metadata that is no table of strings"),
        (_file({"a": 1}), "has a tensor without a known dtype, a shape and two offsets"),
        (_file({"a": _tensor(0, 4, [1], "PICKLE")}, b"1234"), "has a tensor without a known dtype"),
        (_file({"a": _tensor(0, 4, [-1])}, b"1234"), "has a tensor without a known dtype"),
        (_file({"a": _tensor(4, 0, [1])}, b"1234"), "offsets do not fit its shape and dtype"),
        (_file({"a": _tensor(0, 4, [2])}, b"1234"), "offsets do not fit its shape and dtype"),
        (_file({"a": _tensor(0, 8, [2])}, b"1234"), "has 4 bytes of tensors where its header says 8"),
        (_file({"a": _tensor(0, 4, [1])}, b"12345678"), "has 8 bytes of tensors where its header says 4"),
        (_file({"a": _tensor(0, 4, [1]), "b": _tensor(2, 6, [1])}, b"123456"), "overlap or leave bytes between"),
        (_file({"a": _tensor(0, 4, [1]), "b": _tensor(8, 12, [1])}, b"x" * 12), "overlap or leave bytes between"),
    ],
)
def test_weights_that_are_no_sound_safetensors_are_refused(work, refused, content: bytes, message: str) -> None:
    (line,) = refused(work.model, _model(**{"model.safetensors": content}))
    assert line.startswith("model.safetensors: ")
    assert message in line


def test_weights_of_every_common_type_with_metadata_pass(work) -> None:
    types = (np.float64, np.float16, np.int64, np.int32, np.uint8, np.bool_)
    tensors = {f"t{i}": np.zeros((i, 3), dtype=kind) for i, kind in enumerate(types)}
    work.model(_model(**{"model.safetensors": save(tensors, {"format": "pt"})}))


def test_no_weights_or_two_forms_of_them_are_refused(work, refused) -> None:
    files = _model()
    del files["model.safetensors"]
    assert refused(work.model, files)[0].startswith("no weights found.")
    assert refused(work.model, _model() | _adapter())[0].startswith("several weights found.")
    assert refused(work.model, _model() | _sharded())[0].startswith("several weights found.")


def test_half_an_adapter_is_refused(work, refused) -> None:
    files = _adapter()
    del files["adapter_config.json"]
    assert refused(work.model, files) == ["adapter_config.json: the file is missing. Save the adapter again."]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model-00002-of-00002.safetensors": None}, 'index.json: names "model-00002-of-00002.safetensors", which'),
        ({"model.safetensors.index.json": None}, "model.safetensors.index.json: the file is missing"),
        ({"model-00003-of-00003.safetensors": _weights("c")}, 'does not name "model-00003-of-00003.safetensors"'),
        ({"model-00002-of-00002.safetensors": _weights("c")}, "does not hold the tensors that the index says"),
        ({"model.safetensors.index.json": "{}"}, 'has no "weight_map"'),
        ({"model.safetensors.index.json": '{"weight_map": {"a": "../a.safetensors"}}'}, 'names "../a.safetensors"'),
    ],
)
def test_incomplete_shards_are_refused(work, refused, change: dict[str, bytes | None], message: str) -> None:
    files = {name: content for name, content in (_sharded() | change).items() if content is not None}
    assert any(message in line for line in refused(work.model, files))

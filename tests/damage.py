"""A small model's folder, and the ways in which one is not whole: what must be said of each is in its entry."""

import json
import shutil

import torch
from safetensors.torch import load_file, save_file
from tiny import tiny_llama

from galley.models.scratch import train_tokenizer

NAME = "model.layers.1.self_attn.k_proj.weight"
WEIGHTS = "model.safetensors"


def save_tiny(path, **shape):
    """Write a random Llama of two layers with a tokenizer of its own, and return the model."""
    model = tiny_llama(vocab=300, **shape)
    model.save_pretrained(path)
    train_tokenizer(["def f(x): return x + 1\n" * 20], vocab_size=300).save_pretrained(path)
    return model


def damaged(whole, out, damage):
    """Return a damaged copy of a whole folder."""
    shutil.copytree(whole, out)
    damage(out)
    return out


def _tensors(change):
    def damage(path):
        tensors = load_file(path / WEIGHTS)
        change(tensors)
        save_file(tensors, path / WEIGHTS, metadata={"format": "pt"})

    return damage


def _config(**fields):
    def damage(path):
        file = path / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | fields))

    return damage


def _put(name, content):
    return lambda path: (path / name).write_bytes(content)


def _set(made):
    return _tensors(lambda tensors: tensors.update({NAME: made(tensors[NAME])}))


def _spoil(value):
    return _tensors(lambda tensors: tensors[NAME].__setitem__((3, 5), value))


def _cut(path):
    file = path / WEIGHTS
    file.write_bytes(file.read_bytes()[:-100])


def _rename(path):
    (path / WEIGHTS).rename(path / "adapter_model.safetensors")


def _sharded(name="model-00002-of-00002.safetensors", write=True):
    def damage(path):
        tensors = load_file(path / WEIGHTS)
        first = "model-00001-of-00002.safetensors"
        names = {key: first if at < 5 else name for at, key in enumerate(tensors)}
        save_file({key: tensors[key] for key in names if names[key] == first}, path / first, metadata={"format": "pt"})
        if write:
            save_file({key: tensors[key] for key in names if names[key] != first and key != NAME}, path / name, metadata={"format": "pt"})
        (path / WEIGHTS).unlink()
        (path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))

    return damage


def _no_index(path):
    _sharded()(path)
    (path / "model.safetensors.index.json").write_text("{")


MODEL = {  # the damage, and what is said of it
    "a tensor is missing": (_tensors(lambda t: t.pop(NAME)), rf"lacks {NAME}, which a LlamaForCausalLM has: it would be random; fetch"),
    "tensors are left over": (
        _tensors(lambda t: t.update({"model.layers.1.self_attn.k_norm.weight": torch.ones(3), "z": torch.ones(1)})),
        r"has model\.layers\.1\.self_attn\.k_norm\.weight \(and 1 more\), which a LlamaForCausalLM has not: it would be dropped; take",
    ),
    "a tensor has another shape": (_set(lambda x: torch.ones(3, 3)), rf"{NAME} .* has shape \(3, 3\).* asks for \(32, 64\); take"),
    "a weight is NaN": (_spoil(float("nan")), rf"{NAME} in .* has NaN or infinite values.*; fetch"),
    "a weight is infinite": (_spoil(float("-inf")), rf"{NAME} in .* has NaN or infinite values.*; fetch"),
    "a weight is of whole numbers": (_set(lambda x: x.to(torch.int8)), rf"{NAME} in .* is kept as I8, .*no quantisation; take"),
    "a weight is of 8 bits without scales": (_set(lambda x: x.to(torch.float8_e4m3fn)), rf"{NAME} in .* is kept as F8_E4M3"),
    "weights cut off": (_cut, r"model\.safetensors, which holds weights of the model, has \d+ bytes where its head says \d+; fetch"),
    "weights empty": (_put(WEIGHTS, b""), r"model\.safetensors, which holds weights of the model, is empty; fetch"),
    "weights are garbage": (_put(WEIGHTS, b"\x07" * 500), r"model\.safetensors, .* is no safetensors file, or is cut off; fetch"),
    "weights under another name": (_rename, r"has adapter_model\.safetensors, but neither model\.safetensors nor .*index\.json; fetch"),
    "no weights": (lambda path: (path / WEIGHTS).unlink(), r"has no weights: neither model\.safetensors nor .*; fetch"),
    "a shard is missing": (_sharded(write=False), r"model-00002-of-00002\.safetensors, .* is not there; fetch"),
    "a shard lacks a tensor": (_sharded(), rf"lacks {NAME}"),
    "a shard lies elsewhere": (_sharded(name="../x.safetensors"), r"index\.json has no weight_map of tensors to files beside it; fetch"),
    "the index is broken": (_no_index, r"index\.json is no JSON: .*; fetch"),
    "config.json is broken": (_put("config.json", b"{"), r"config\.json is no JSON: .*; fetch"),
    "config.json is empty": (_put("config.json", b""), r"config\.json is empty; fetch"),
    "config.json is no text": (_put("config.json", b"\xff\xfe\x00"), r"config\.json is no UTF-8 text \(byte 0 is 0xff.*\); fetch"),
    "config.json is a list": (_put("config.json", b"[]"), r"config\.json is JSON, but no object; fetch"),
    "config.json is missing": (lambda path: (path / "config.json").unlink(), r"no model at .*: it has no config\.json; name"),
    "more layers than weights": (_config(num_hidden_layers=3), r"lacks model\.layers\.2\.input_layernorm\.weight \(and 8 more\)"),
    "fewer layers than weights": (_config(num_hidden_layers=1), r"has model\.layers\.1\.input_layernorm\.weight \(and 8 more\)"),
    "a width that is not the weights'": (_config(hidden_size=10**9), r"has shape .* asks for .*1000000000"),
    "heads that do not divide the width": (_config(num_attention_heads=5, head_dim=None), r"hidden size \(64\) is not a multiple .* \(5\)"),
    "no heads": (_config(num_attention_heads=0), r"cannot be loaded: ZeroDivisionError"),
    "a width in words": (_config(hidden_size="big"), r"expected int, got str \(value: 'big'\)"),
    "an unknown activation": (_config(hidden_act="foo"), r"cannot be loaded: KeyError: 'foo'"),
    "an unknown type": (_config(model_type="foo"), r"model_type in .*config\.json is 'foo', which transformers [\d.]+ does not know; take"),
    "a rotation that is none": (_config(rope_parameters={"rope_type": "default", "rope_theta": 0}), r"rope_theta in .* is 0; it takes"),
    "a rotation that is no number": (_config(rope_theta=float("nan")), r"rope_theta in .* is nan; it takes a finite number above 0: take"),
    "a stretch of nothing": (
        _config(rope_parameters={"rope_type": "linear", "rope_theta": 1e4, "factor": 0.0}), r"factor in .* is 0\.0; it takes a finite",
    ),
    "a norm below nothing": (_config(rms_norm_eps=-1e-5), r"rms_norm_eps in .* is -1e-05; it takes a finite number from 0: take"),
    "a norm that is no number": (_config(rms_norm_eps=float("nan")), r"rms_norm_eps in .* is nan; it takes"),
    "no position": (_config(max_position_embeddings=0), r"max_position_embeddings in .* is 0; it takes a whole number from 1: take"),
    "another field that is no number": (_config(attention_dropout=float("nan")), r"attention_dropout in .* is nan; it takes a number"),
    "no type": (_config(model_type=None), r"model_type in .*config\.json is None"),
    "a type that is no language model": (
        _config(model_type="vit"), r"is of type 'vit', which is no causal language model; give|model type is 'vit'; convertible",
    ),
    "code of its own": (
        _config(model_type="evil", auto_map={"AutoConfig": "evil.X", "AutoModelForCausalLM": "evil.Y"}),
        r"wants code of its own \(auto_map .*\), which is never run; take a version",
    ),
    "an unknown quantisation": (
        _config(quantization_config={"quant_method": "foo"}), r"quantization_config .* has quant_method 'foo', .* does not know",
    ),
    "generation_config.json is broken": (_put("generation_config.json", b"{"), r"generation_config\.json is no JSON: .*; fetch"),
}  # fmt: skip
QUANTISED = {  # with packages that no user of this project needs
    name: _config(quantization_config={"quant_method": name, "bits": 4, "load_in_4bit": True})
    for name in ("bitsandbytes", "gptq", "awq", "compressed-tensors")
}


def _class(name):
    def damage(path):
        (path / "tokenizer.json").unlink()
        file = path / "tokenizer_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"tokenizer_class": name}))

    return damage


def _merges_alone(path):
    _class("GPT2Tokenizer")(path)
    (path / "vocab.txt").write_text("a\n")


def _code(path):
    file = path / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"tokenizer_class": "Evil", "auto_map": {"AutoTokenizer": ["evil.T", None]}}))


TOKENIZER = {
    "tokenizer.json is broken": (_put("tokenizer.json", b"{"), r"tokenizer\.json is no JSON: .*; fetch"),
    "tokenizer.json is no text": (_put("tokenizer.json", b"\xff\xfe"), r"tokenizer\.json is no UTF-8 text"),
    "tokenizer.json is another object": (_put("tokenizer.json", b'{"a": 1}'), r"the tokenizer at .* cannot be loaded: .*; fetch"),
    "tokenizer.json is missing": (lambda path: (path / "tokenizer.json").unlink(), r"has no vocabulary, such as tokenizer\.json; copy"),
    "its class makes an empty one": (_class("LlamaTokenizer"), r"has no vocabulary, such as tokenizer\.json; copy"),
    "its class finds no vocabulary": (_merges_alone, r"has no vocabulary \(tokenizer\.json or vocab\.json\); copy"),
    "tokenizer_config.json is broken": (_put("tokenizer_config.json", b"{"), r"tokenizer_config\.json is no JSON"),
    "tokenizer_config.json is empty": (_put("tokenizer_config.json", b""), r"tokenizer_config\.json is empty; fetch"),
    "tokenizer_config.json is a list": (_put("tokenizer_config.json", b"[]"), r"tokenizer_config\.json is JSON, but no object"),
    "tokenizer_config.json is missing": (lambda path: (path / "tokenizer_config.json").unlink(), r"has no tokenizer_config\.json; copy"),
    "added_tokens.json is broken": (_put("added_tokens.json", b"{"), r"added_tokens\.json is no JSON"),
    "code of its own": (_code, r"the tokenizer at .* wants code of its own"),
}

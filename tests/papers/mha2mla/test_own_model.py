import json
import math
import re
import shutil
from pathlib import Path

import pytest
import torch
from damage import damaged, save_tiny
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from galley.artifact import GalleyError
from galley.data.corpus import pydoc_documents
from galley.evaluate.likelihood import heldout_windows
from galley.models.scratch import build_llama, train_tokenizer
from galley.papers.mha2mla import own_model
from galley.papers.mha2mla.convert import convert_mla
from galley.papers.mha2mla.own_model import convert_own_model

DEFAULTS = {
    "d_kv": 8, "strategy": "2-norm", "r": None, "svd": "joint", "balance": "balanced", "expand_gqa": False, "calibration": None,
    "dtype": "float32", "revision": None,
}  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    path = tmp_path_factory.mktemp("own") / "base"
    model = build_llama(vocab_size=300, d_model=128, n_layers=2, n_heads=4, n_kv_heads=2, d_ff=64, context=128, seed=0).eval()
    model.save_pretrained(path)
    train_tokenizer(["def f(x): return x + 1\n" * 20], vocab_size=300).save_pretrained(path)
    return path


def convert(model, out, **change):
    return convert_own_model(str(model), out=out, **(DEFAULTS | change))


def test_the_written_model_is_convert_mla_s(base, tmp_path):
    convert(base, tmp_path / "mla", strategy="high", r=3, d_kv=4, svd="split")
    ours = AutoModelForCausalLM.from_pretrained(tmp_path / "mla")
    original = AutoModelForCausalLM.from_pretrained(base)
    theirs = convert_mla(original, strategy="high", r=3, d_kv=4, svd="split")
    state = theirs.state_dict()
    assert set(state) == set(ours.state_dict())
    assert all(torch.equal(state[name], value) for name, value in ours.state_dict().items())


def test_full_rope_alone_keeps_the_logits(base, tmp_path):
    convert(base, tmp_path / "mla", strategy="high", r=16, d_kv=None)
    ids = torch.randint(1, 300, (1, 20), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours, theirs = (AutoModelForCausalLM.from_pretrained(p).eval()(ids).logits for p in (tmp_path / "mla", base))
    assert torch.allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"strategy": "best"}, "--rope-strategy is 'best'; allowed: high, low, uniform, 2-norm"),
        ({"r": 17}, "--rope-pairs is 17; it takes 0 .* to 16, the pairs of a head of size 32"),
        ({"r": -1}, "--rope-pairs is -1; it takes 0"),
        ({"r": 10**9}, "--rope-pairs is 1000000000; it takes 0"),
        ({"strategy": "uniform", "r": 3}, "--rope-pairs is 3, which does not divide the 16 pairs"),
        ({"d_kv": 0}, "--d-kv is 0; it takes 1 to 60"),
        ({"d_kv": -3}, "--d-kv is -3; it takes 1 to 60"),
        ({"d_kv": 61}, "--d-kv is 61; it takes 1 to 60"),
        ({"d_kv": 10**9}, "--d-kv is 1000000000; it takes 1 to 60"),
        ({"svd": "both"}, "--svd is 'both'; allowed: joint, split"),
        ({"svd": "both", "d_kv": None}, "--svd is 'both'; allowed: joint, split"),
        ({"balance": "left"}, "--balance is 'left'; allowed"),
        ({"balance": "left", "d_kv": None}, "--balance is 'left'; allowed"),
        ({"dtype": "float16"}, "--dtype is 'float16'; allowed: float32, bfloat16"),
        ({"revision": "main"}, "--revision is 'main', but --model is .*no_weights, a folder here; leave --revision out"),
        ({"positions": 0}, "--positions is 0; it takes 2 to 128"),
        ({"positions": 129}, "--positions is 129; it takes 2 to 128"),
    ],
)
def test_options_are_refused_before_any_weight_is_read(base, tmp_path, change, message):
    source = tmp_path / "no_weights"
    source.mkdir()
    (source / "config.json").write_text((base / "config.json").read_text())  # weights would be missed later
    with pytest.raises(GalleyError, match=message):
        convert(source, tmp_path / "mla", **change)
    assert not (tmp_path / "mla").exists()


def test_a_latent_that_cannot_be_halved_or_is_one_number_is_refused(tmp_path):
    save_tiny(tmp_path / "base", n_kv=1)
    with pytest.raises(GalleyError, match="--d-kv is 3, and 1 KV heads make an odd latent, which --svd split cannot halve; give an even"):
        convert(tmp_path / "base", tmp_path / "mla", d_kv=3, svd="split", strategy="high")
    with pytest.raises(GalleyError, match="--d-kv is 1; it takes 2 to"):
        convert(tmp_path / "base", tmp_path / "mla", d_kv=1, strategy="high")
    assert "Wrote" in convert(tmp_path / "base", tmp_path / "mla", d_kv=2, strategy="high")


def test_wrong_paths_are_named(base, tmp_path):
    with pytest.raises(GalleyError, match=r"--model is '.*absent', which is no folder here; name one, or a model of the hub"):
        convert(tmp_path / "absent", tmp_path / "mla")
    for name in ("", "a/b/c", "owner/"):
        with pytest.raises(GalleyError, match=f"--model is '{name}', which is no folder here"):
            convert(name, tmp_path / "mla")
    with pytest.raises(GalleyError, match=r"--model is .*config\.json, which is a file; name the folder"):
        convert(base / "config.json", tmp_path / "mla")
    with pytest.raises(GalleyError, match=r"has no config\.json"):
        (tmp_path / "empty").mkdir()
        convert(tmp_path / "empty", tmp_path / "mla")
    with pytest.raises(GalleyError, match=r"--out is .* is not empty, but holds 'config\.json'; name a new folder"):
        convert(base, base)
    for inside in (base / "new", base / "ok/sub", tmp_path / "../" / tmp_path.name / "link" / "new"):
        if not (tmp_path / "link").is_symlink():
            (tmp_path / "link").symlink_to(base)
        with pytest.raises(GalleyError, match=r"--out is .*, which lies in --model \(.*\); name a new folder"):
            convert(base, inside)
    with pytest.raises(GalleyError, match=r"--out is .*link, which is a link \(to .*\), which would be replaced.*; name a new folder"):
        convert(base, tmp_path / "link")
    assert not (base / "new").exists() and not (base / "ok").exists()
    with pytest.raises(GalleyError, match=r"--out is .*config\.json, which is a file and no folder; name a new folder"):
        convert(base, base / "config.json")
    with pytest.raises(GalleyError, match=r"--out is .*mla, which lies under .*config\.json', which is no folder"):
        convert(base, base / "config.json" / "mla")
    with pytest.raises(GalleyError, match="revision of owner/name is None; give the commit"):
        convert("owner/name", tmp_path / "mla")
    with pytest.raises(GalleyError, match=r"the hub has no model 'owner/na me': .*; give an id such as owner/name"):
        convert("owner/na me", tmp_path / "mla", revision="0" * 40)


CALIBRATIONS = {
    "missing": (lambda path: None, "c.txt", "which is not there; give a .txt file"),
    "a folder": (lambda path: path.mkdir(), "c.txt", "which is a folder and no file; give a .txt file"),
    "empty": (lambda path: path.touch(), "c.txt", "which is empty; give a .txt file"),
    "bytes": (lambda path: path.write_bytes(bytes(range(256)) * 50), "c.txt", "which is no UTF-8 text \(byte 128 is 0x80\); give"),
    "too short": (
        lambda path: path.write_text("def f"),
        "c.txt",
        "the text packs to . tokens, fewer than one sequence of seq_len 128; give more text",
    ),
    "no JSON": (lambda path: path.write_text('{"text": "a"}\n{'), "c.jsonl", "which has in line 2 no JSON.*; give"),
    "no text": (lambda path: path.write_text('{"content": "a"}\n'), "c.jsonl", "which has in line 1 no field 'text'.*; give"),
    "a number for text": (lambda path: path.write_text('{"text": 3}\n'), "c.jsonl", "which has in line 1 no field 'text'.*; give"),
}


@pytest.mark.parametrize("case", CALIBRATIONS)
def test_a_calibration_that_is_no_text_is_refused(base, tmp_path, case):
    make, name, message = CALIBRATIONS[case]
    make(tmp_path / name)
    with pytest.raises(GalleyError, match=f"--calibration is {tmp_path / name}(, |: ){message}"):
        convert(base, tmp_path / "mla", calibration=tmp_path / name)
    assert not (tmp_path / "mla").exists()


def test_a_calibration_that_nobody_reads_is_refused(base, tmp_path):
    with pytest.raises(GalleyError, match="--calibration is absent, but --rope-strategy high looks at no text; leave one of them out"):
        convert(base, tmp_path / "mla", strategy="high", calibration=Path("absent"))


def test_lines_of_json_are_the_same_text_as_a_file_of_it(base, tmp_path):
    """With the separators that str.splitlines takes for line ends, and JSON does not."""
    text = "def g(y):\u2028 return y\x85\x0b * 2 + 1\n" * 300
    (tmp_path / "c.txt").write_text(text, encoding="utf-8")
    (tmp_path / "c.jsonl").write_text(json.dumps({"text": text}, ensure_ascii=False) + "\n", encoding="utf-8")
    for name in ("c.txt", "c.jsonl"):
        convert(base, tmp_path / name.replace(".", "-"), calibration=tmp_path / name, r=2)
    one, other = (AutoModelForCausalLM.from_pretrained(tmp_path / name) for name in ("c-txt", "c-jsonl"))
    assert one.config.rope_pairs == other.config.rope_pairs
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_a_tokenizer_of_another_model_is_refused(base, tmp_path):
    source = damaged(base, tmp_path / "base", lambda _: None)
    train_tokenizer([doc["text"] for doc in pydoc_documents(max_bytes=100_000)], vocab_size=420).save_pretrained(source)
    with pytest.raises(GalleyError, match=r"the tokenizer at .* makes token \d+, and the model has 300 .*; take"):
        convert(source, tmp_path / "mla", strategy="high")
    config = json.loads((base / "tokenizer_config.json").read_text())
    config.pop("eos_token")
    source = damaged(base, tmp_path / "endless", lambda path: (path / "tokenizer_config.json").write_text(json.dumps(config)))
    with pytest.raises(GalleyError, match=r"the tokenizer at .* names no end of text; give eos_token in its tokenizer_config\.json"):
        convert(source, tmp_path / "mla", strategy="high")


def test_a_disk_without_room_is_said_before_a_weight_is_loaded(base, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=200_000))
    monkeypatch.setattr(own_model, "load_model", None)
    with pytest.raises(GalleyError, match=r"the converted model needs \d+\.\d kB in .*mla, which has 200\.0 kB free; make room there"):
        convert(base, tmp_path / "mla", strategy="high")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("change", [{}, {"d_kv": None}, {"svd": "split"}, {"expand_gqa": True}, {"dtype": "bfloat16"}], ids=str)
def test_the_room_that_is_asked_for_is_what_is_written(base, tmp_path, monkeypatch, change):
    asked = []
    monkeypatch.setattr(own_model, "room", lambda out, need, *, what: asked.append(need))
    convert(base, tmp_path / "mla", strategy="high", **change)
    (written,) = (tmp_path / "mla").glob("*.safetensors")
    assert 0 <= written.stat().st_size - asked[0] < 10_000  # the names


def test_what_is_said_at_the_end_is_so(base, tmp_path):
    out = tmp_path / "mla"
    path, cache, text, *_, load, score = convert(base, out, strategy="high").splitlines()
    assert path == f"Wrote {out}."
    # 2 layers: 2 KV heads of size 32 keep 2 pairs (d_h/16) and a latent of 8 each, of keys and values
    assert cache == "Cache: 18.75 % of the original's is kept (48 of 256 numbers a token)."
    before, after = (bits(p) for p in (base, out))
    assert text == (
        "Held-out text (8 windows of 128 tokens from the topics of Python's language reference): "
        f"{before:.4f} bits per byte before, {after:.4f} after."
    )
    kept = json.loads((out / "manifest.json").read_text())
    assert kept["bits_per_byte"]["after"] == pytest.approx(after, rel=1e-5) and kept["cache_per_token"] == {"before": 256, "after": 48}
    assert load == f'Load it in Python:  import galley; AutoModelForCausalLM.from_pretrained("{out}")'
    assert score == f"Score it:  galley lm-eval --model hf --model_args pretrained={out} --tasks piqa"


def bits(path):
    """Return bits per byte by transformers' own loss, over the same windows of text."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(path).eval(), AutoTokenizer.from_pretrained(path)
    windows = heldout_windows(pydoc_documents(max_bytes=1_000_000), tokenizer, n_windows=8, window_tokens=128, seed=0)
    nats = size = 0.0
    for ids in windows.ids:
        with torch.no_grad():
            nats += float(model(ids[None], labels=ids[None]).loss) * (len(ids) - 1)
        size += len(tokenizer.decode(ids[1:]).encode())
    return nats / math.log(2) / size


def test_a_model_that_loses_nothing_is_not_told_to_train(base, tmp_path):
    said = convert(base, tmp_path / "mla", strategy="high", r=16, d_kv=None)
    assert "100 % of the original's" in said and "Fine-tune" not in said


SMALL = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
         "num_key_value_heads": 1, "head_dim": 16, "max_position_embeddings": 64}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "config", "name"),
    [(Gemma3ForCausalLM, Gemma3TextConfig(**SMALL), "gemma3_text"), (Qwen3ForCausalLM, Qwen3Config(**SMALL), "qwen3")],
    ids=["gemma3", "qwen3"],
)
def test_models_with_normalised_queries_and_keys_are_refused_with_the_reason(kind, config, name, tmp_path):
    kind(config).save_pretrained(tmp_path / "base")
    with pytest.raises(GalleyError, match=f"model type is '{name}', which normalises queries and keys.*cannot be absorbed"):
        convert(tmp_path / "base", tmp_path / "mla")
    assert not (tmp_path / "mla").exists()


def test_a_converted_model_is_not_converted_again(base, tmp_path):
    convert(base, tmp_path / "mla", strategy="high")
    with pytest.raises(GalleyError, match="already an MHA2MLA model"):
        convert(tmp_path / "mla", tmp_path / "twice", strategy="high")


WORDS = SMALL | {"vocab_size": 300}
WINDOWED = {
    "mistral": lambda window: MistralForCausalLM(MistralConfig(**WORDS, sliding_window=window)),
    "qwen2": lambda window: Qwen2ForCausalLM(Qwen2Config(**WORDS, use_sliding_window=True, sliding_window=window, max_window_layers=1)),
}


def windowed(path, kind, window, tokenizer):
    torch.manual_seed(0)
    model = WINDOWED[kind](window).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    model.save_pretrained(path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tokenizer / name, path / name)
    return model


@pytest.mark.parametrize("kind", WINDOWED)
def test_a_window_that_is_shorter_than_the_context_is_refused_with_what_can_be_done(base, tmp_path, kind):
    windowed(tmp_path / "base", kind, 24, base)
    message = r"model sees the last 24 tokens only \(sliding_window in its config\.json\), and {} positions are asked for.*--positions 24"
    with pytest.raises(GalleyError, match=message.format(64)):
        convert(tmp_path / "base", tmp_path / "mla", strategy="high")
    with pytest.raises(GalleyError, match=message.format(25)):
        convert(tmp_path / "base", tmp_path / "mla", strategy="high", positions=25)


@pytest.mark.parametrize("kind", WINDOWED)
def test_up_to_its_window_a_model_is_converted_exactly(base, tmp_path, kind):
    original = windowed(tmp_path / "base", kind, 24, base)
    said = convert(tmp_path / "base", tmp_path / "mla", strategy="high", r=8, d_kv=None, positions=24)
    assert "It is for at most 24 positions, in which the original's window of 24 tokens cuts nothing off." in said
    mla, ids = AutoModelForCausalLM.from_pretrained(tmp_path / "mla").eval(), torch.arange(1, 41)[None]
    with torch.no_grad():
        gap = (mla(ids).logits - original(ids).logits).abs().amax(dim=(0, 2))
    assert gap[:24].max() < 1e-5 and gap[24:].max() > 1e-3  # from position 24 on, the original has lost its first token
    assert mla.config.max_position_embeddings == 24 and AutoTokenizer.from_pretrained(tmp_path / "mla").model_max_length == 24


def test_a_mistral_without_a_window_is_converted(base, tmp_path):
    original = windowed(tmp_path / "base", "mistral", None, base)
    said = convert(tmp_path / "base", tmp_path / "mla", strategy="high", r=8, d_kv=None)
    assert "positions" not in said
    mla, ids = AutoModelForCausalLM.from_pretrained(tmp_path / "mla").eval(), torch.arange(1, 61)[None]
    with torch.no_grad():
        assert torch.allclose(mla(ids).logits, original(ids).logits, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_key_value_heads": 3}, "4 query heads, which its 3 KV heads do not divide; correct num_key_value_heads"),
        ({"head_dim": 15}, "RoPE requires an even rotary dimension, but got `head_dim`=15"),
        (
            {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0}},
            "rope_type is 'yarn'.*convertible: default, linear, llama3",
        ),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}}, "partial_rotary_factor is 0.5"),
        ({"max_position_embeddings": 1}, "max_position_embeddings in config.json is 1, so no token has one before it; give"),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": -1}}, r"rope_theta in .*config\.json is -1; it takes a finite number"),
    ],
    ids=["KV heads", "odd heads", "yarn", "partial", "one position", "base"],
)
def test_what_cannot_be_converted_is_refused_by_name(base, tmp_path, change, message):
    def damage(path):
        file = path / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | change))

    with pytest.raises(GalleyError, match=message):
        convert(damaged(base, tmp_path / "base", damage), tmp_path / "mla", strategy="high")


def test_a_head_beside_the_embedding_is_kept_though_the_configuration_ties_them(tmp_path):
    original = save_tiny(tmp_path / "base")
    file = tmp_path / "base/config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"tie_word_embeddings": True}))
    convert(tmp_path / "base", tmp_path / "mla", strategy="high", r=8, d_kv=None)
    ids = torch.arange(1, 40)[None]
    with torch.no_grad():
        assert torch.allclose(AutoModelForCausalLM.from_pretrained(tmp_path / "mla").eval()(ids).logits, original(ids).logits, atol=1e-5)


def scaled(by, only=""):
    """Return a damage that multiplies weights."""

    def damage(path):
        tensors = {name: x * (by if only in name else 1) for name, x in load_file(path / "model.safetensors").items()}
        save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})

    return damage


@pytest.mark.parametrize("strategy", ["2-norm", "high"])
def test_a_model_that_finds_no_number_is_refused_with_nothing_written(base, tmp_path, strategy):
    """Its base is above 0 and finite, its inverse frequencies are not: each score is NaN, which pandas leaves out of a sum."""

    def damage(path):
        config = json.loads((path / "config.json").read_text())
        (path / "config.json").write_text(json.dumps(config | {"rope_parameters": {"rope_type": "default", "rope_theta": 1e-300}}))

    source = damaged(base, tmp_path / "base", damage)
    with pytest.raises(
        GalleyError, match=rf"--model is {source}: bits_per_byte of heldout '.*' is nan: .*; take weights and a config\.json"
    ):
        convert(source, tmp_path / "mla", strategy=strategy)
    assert not (tmp_path / "mla").exists()


@pytest.mark.parametrize(
    "damage",
    [scaled(0.0), scaled(1e30), scaled(1e30, "v_proj"), scaled(1e20, "k_proj"), scaled(0.0, "k_proj")],
    ids=["all zero", "all 1e30", "v 1e30", "k 1e20", "k zero"],
)
def test_what_is_said_of_odd_weights_is_what_transformers_finds(base, tmp_path, damage):
    source = damaged(base, tmp_path / "base", damage)
    said = convert(source, tmp_path / "mla")
    before, after = (float(x) for x in re.search(r": ([\d.]+) bits per byte before, ([\d.]+) after", said).groups())
    assert before == pytest.approx(bits(source), abs=6e-5) and after == pytest.approx(bits(tmp_path / "mla"), abs=6e-5)
    assert before > 1

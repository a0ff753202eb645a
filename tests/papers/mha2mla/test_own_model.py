import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma3ForCausalLM, Gemma3TextConfig, Qwen3Config, Qwen3ForCausalLM

from galley.artifact import GalleyError
from galley.models.scratch import build_llama, train_tokenizer
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
    convert_own_model(str(model), out=out, **(DEFAULTS | change))


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
        ({"strategy": "best"}, "rope strategy is 'best'; allowed: high, low, uniform, 2-norm"),
        ({"r": 17}, "rope pairs r is 17; a head of size 32 has 0 to 16"),
        ({"strategy": "uniform", "r": 3}, "does not divide"),
        ({"d_kv": 0}, "d_kv is 0; allowed: 1 to 60"),
        ({"d_kv": 61}, "d_kv is 61; allowed: 1 to 60"),
        ({"svd": "both"}, "svd is 'both'; allowed: joint, split"),
        ({"balance": "left"}, "balance is 'left'; allowed"),
        ({"dtype": "float16"}, "dtype is 'float16'; allowed: float32, bfloat16"),
    ],
)
def test_options_are_refused_before_any_weight_is_read(base, tmp_path, change, message):
    source = tmp_path / "no_weights"
    source.mkdir()
    (source / "config.json").write_text((base / "config.json").read_text())  # weights would be missed later
    with pytest.raises(GalleyError, match=message):
        convert(source, tmp_path / "mla", **change)
    assert not (tmp_path / "mla").exists()


def test_wrong_paths_are_named(base, tmp_path):
    with pytest.raises(GalleyError, match=r"calibration is .*absent\.txt, which does not exist"):
        convert(base, tmp_path / "mla", calibration=tmp_path / "absent.txt")
    with pytest.raises(GalleyError, match="neither a folder here nor a hub id"):
        convert(tmp_path / "absent", tmp_path / "mla")
    with pytest.raises(GalleyError, match=r"has no config\.json"):
        (tmp_path / "empty").mkdir()
        convert(tmp_path / "empty", tmp_path / "mla")
    with pytest.raises(GalleyError, match="is not empty; name a new folder"):
        convert(base, base)
    with pytest.raises(GalleyError, match="revision of owner/name is None; give the commit"):
        convert("owner/name", tmp_path / "mla")


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

import json
import shutil

import gguf
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from galley.artifact import GalleyError
from galley.models.gguf import PROBE, convert_gguf, fix_tokenizer
from galley.models.scratch import build_llama, train_tokenizer

D, LAYERS, HEADS, KV, FF, VOCAB, CONTEXT = 64, 2, 4, 2, 64, 400, 128


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer([PROBE * 4 + "the same words " * 30], vocab_size=VOCAB)


@pytest.fixture(scope="module")
def model(tokenizer):
    return build_llama(
        vocab_size=len(tokenizer), d_model=D, n_layers=LAYERS, n_heads=HEADS, n_kv_heads=KV, d_ff=FF, context=CONTEXT, seed=0
    ).eval()


def permuted(weight, heads):
    """Return q or k rows in GGUF's order: each head's halves interleaved."""
    return weight.view(heads, 2, -1, weight.shape[1]).transpose(1, 2).reshape(weight.shape)


def write_gguf(path, model, tokenizer, *, without="", spoil=""):
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(D)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FF)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV)
    writer.add_rope_dimension_count(D // HEADS)
    writer.add_rope_freq_base(1e4)
    writer.add_layer_norm_rms_eps(model.config.rms_norm_eps)
    writer.add_vocab_size(len(tokenizer))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    tokens = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.CONTROL] + [gguf.TokenType.NORMAL] * (len(tokens) - 1))
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in merges])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    names = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
             "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
             "post_attention_layernorm": "ffn_norm"}  # fmt: skip
    state = model.state_dict()
    writer.add_tensor("token_embd.weight", state["model.embed_tokens.weight"].numpy())
    writer.add_tensor("output_norm.weight", state["model.norm.weight"].numpy())
    for i in range(LAYERS):
        for ours, theirs in names.items():
            weight = state[f"model.layers.{i}.{ours}.weight"]
            heads = {"attn_q": HEADS, "attn_k": KV}.get(theirs)
            weight = permuted(weight, heads) if heads else weight
            name = f"blk.{i}.{theirs}.weight"
            if name != without:
                writer.add_tensor(name, np.ascontiguousarray(weight.numpy()) * (np.nan if name == spoil else 1))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_a_gguf_file_becomes_a_directory_with_the_same_model_and_tokenizer(tmp_path, model, tokenizer):
    write_gguf(tmp_path / "tiny.gguf", model, tokenizer)
    convert_gguf(tmp_path / "tiny.gguf", out=tmp_path / "hf", name="smollm2", dtype=torch.float32)
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "hf", local_files_only=True).eval()
    words = AutoTokenizer.from_pretrained(tmp_path / "hf", local_files_only=True)
    ids = tokenizer(PROBE, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        assert torch.allclose(again(ids).logits, model(ids).logits, atol=1e-5)  # q and k rows are un-permuted
    assert words(PROBE)["input_ids"] == ids[0].tolist()
    assert words.model_max_length == CONTEXT
    assert '"logit_gap_after_reload": 0' in (tmp_path / "hf/manifest.json").read_text()
    assert list((tmp_path / "hf").glob("*.safetensors")) and not list((tmp_path / "hf").glob("*.bin"))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (
            {"without": "blk.1.attn_k.weight"},
            r"the model at .*tiny\.gguf lacks model\.layers\.1\.self_attn\.k_proj\.weight, .*random; fetch",
        ),
        (
            {"spoil": "blk.1.attn_k.weight"},
            r"model\.layers\.1\.self_attn\.k_proj\.weight in .*tiny\.gguf has NaN or infinite values.*; fetch",
        ),
    ],
    ids=["missing", "NaN"],
)
def test_a_gguf_file_that_is_not_whole_is_refused_by_name(tmp_path, model, tokenizer, fault, message):
    write_gguf(tmp_path / "tiny.gguf", model, tokenizer, **fault)
    with pytest.raises(GalleyError, match=message):
        convert_gguf(tmp_path / "tiny.gguf", out=tmp_path / "hf", name="smollm2", dtype=torch.float32)
    assert not (tmp_path / "hf").exists()


@pytest.mark.parametrize("keep", [0, 20, 0.5], ids=["empty", "head", "half"])
def test_a_gguf_file_that_is_cut_off_is_refused(tmp_path, model, tokenizer, keep):
    file = tmp_path / "tiny.gguf"
    write_gguf(file, model, tokenizer)
    raw = file.read_bytes()
    file.write_bytes(raw[: int(keep * len(raw)) if isinstance(keep, float) else keep])
    with pytest.raises(GalleyError, match=r"the model at .*tiny\.gguf cannot be loaded: .*; fetch the model again"):
        convert_gguf(file, out=tmp_path / "hf", name="smollm2", dtype=torch.float32)


def test_a_disk_without_room_is_said_before_anything_is_written(tmp_path, model, tokenizer, monkeypatch):
    write_gguf(tmp_path / "tiny.gguf", model, tokenizer)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=100_000))
    with pytest.raises(GalleyError, match=r"the model from tiny\.gguf needs \d+\.\d kB in .*, which has 100\.0 kB free; make room"):
        convert_gguf(tmp_path / "tiny.gguf", out=tmp_path / "hf", name="smollm2", dtype=torch.float32)
    assert [p.name for p in tmp_path.iterdir()] == ["tiny.gguf"]


def test_smollm2_s_digits_are_split_again_and_no_other_model_s():
    from tokenizers.pre_tokenizers import ByteLevel

    for name, digits in (("smollm2", ["1", "9", "9", "9"]), ("gemma3", ["1999"])):
        tokenizer = train_tokenizer(["1999 " * 50], vocab_size=300)
        tokenizer.backend_tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False, use_regex=True)
        pieces = fix_tokenizer(tokenizer, name=name).backend_tokenizer.pre_tokenizer.pre_tokenize_str("1999")
        assert [piece for piece, _ in pieces] == digits


def test_a_failed_conversion_leaves_nothing_behind(tmp_path, model, tokenizer, monkeypatch):
    write_gguf(tmp_path / "tiny.gguf", model, tokenizer)
    real = AutoTokenizer.from_pretrained

    def unlike(path, **more):
        loaded = real(path, **more)
        return loaded if "gguf_file" in more else train_tokenizer(["other " * 40], vocab_size=280)

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", unlike)
    with pytest.raises(GalleyError, match=r"tokenizer reloaded from tiny\.gguf splits the probe text differently"):
        convert_gguf(tmp_path / "tiny.gguf", out=tmp_path / "hf", name="smollm2", dtype=torch.float32)
    assert [p.name for p in tmp_path.iterdir()] == ["tiny.gguf"]

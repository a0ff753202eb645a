import torch

from galley.models.scratch import EOS, build_llama, train_tokenizer

SHAPE = {"vocab_size": 300, "d_model": 64, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "d_ff": 48, "context": 128}


def test_text_of_any_kind_round_trips_and_digits_stand_alone():
    tokenizer = train_tokenizer(["in 1999 the 1999 of 1999 " * 50], vocab_size=300)
    text = "Café 1999 €\n\tdéjà — 日本"
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids) == text
    assert [t for t in tokenizer.convert_ids_to_tokens(ids) if any(c.isdigit() for c in t)] == ["1", "9", "9", "9"]
    assert tokenizer.eos_token == EOS and tokenizer.eos_token_id == tokenizer.pad_token_id == 0


def test_a_tokenizer_survives_saving(tmp_path):
    from transformers import AutoTokenizer

    tokenizer = train_tokenizer(["the same text again and again " * 20], vocab_size=290)
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again("the same 42")["input_ids"] == tokenizer("the same 42")["input_ids"]
    assert again.eos_token_id == tokenizer.eos_token_id


def test_a_model_has_the_asked_shape_and_tied_embeddings():
    model = build_llama(**SHAPE, seed=0, rope_theta=5e3)
    config = model.config
    assert (config.head_dim, config.num_key_value_heads, config.max_position_embeddings) == (16, 2, 128)
    assert config.rope_parameters["rope_theta"] == 5e3
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert model.dtype == torch.float32
    per_layer = 64 * 64 * 2 + 2 * 64 * 32 + 3 * 64 * 48 + 2 * 64
    assert sum(p.numel() for p in model.parameters()) == 300 * 64 + 2 * per_layer + 64


def test_weights_come_from_the_seed_and_leave_the_global_state_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, two, other = (build_llama(**SHAPE, seed=s) for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not torch.equal(one.lm_head.weight, other.lm_head.weight)

import pytest
import torch
from cache_runs import prompt_ids
from tiny import tiny_llama
from transformers import GraniteConfig, LlamaConfig

from galley.artifact import GalleyError
from galley.caches.prefill import prefill
from galley.caches.votes import attention_scale, attention_votes, keep_winners, require_queries, winners


@pytest.mark.parametrize("width", [1, 7, 40])
def test_votes_are_the_models_own_attention_added_up(width):
    """Slow twin: the attention that the eager model itself puts out."""
    model = tiny_llama()
    ids = prompt_ids(model, 40, batch=2)
    prompt = prefill(model, ids, window=width)
    model.set_attn_implementation("eager")
    with torch.no_grad():
        attentions = model(ids, output_attentions=True).attentions
    for layer in range(2):
        votes = attention_votes(prompt.queries[layer], prompt.keys[layer], scale=attention_scale(model.config))
        assert votes.shape == (2, 2, 2, 40)
        torch.testing.assert_close(votes.flatten(1, 2), attentions[layer][:, :, -width:].sum(2), atol=1e-5, rtol=1e-5)


def test_many_queries_are_taken_in_blocks():
    generator = torch.Generator().manual_seed(0)
    q, k = torch.randn(1, 2, 300, 8, generator=generator), torch.randn(1, 1, 300, 8, generator=generator)
    whole = (q @ k.transpose(-1, -2) * 0.3).masked_fill(~torch.ones(300, 300, dtype=torch.bool).tril(), float("-inf")).softmax(-1).sum(2)
    torch.testing.assert_close(attention_votes(q, k, scale=0.3)[0, 0], whole[0], atol=1e-4, rtol=1e-4)


def test_winners_stay_in_order_and_heads_choose_alone():
    votes = torch.tensor([[[0.1, 0.9, 0.2, 0.8, 0.3], [5.0, 0.0, 0.0, 1.0, 2.0]]])
    chosen = winners(votes, 2)
    assert chosen.tolist() == [[[1, 3], [0, 4]]]
    x = torch.arange(14.0).view(1, 2, 7, 1)
    assert keep_winners(x, chosen, recent=2).squeeze(-1).tolist() == [[[1, 3, 5, 6], [7, 11, 12, 13]]]
    assert keep_winners(x, chosen, recent=0).shape == (1, 2, 2, 1)


def test_missing_queries_are_named():
    with pytest.raises(GalleyError, match=r"SnapKV got 0 of the prompt's last 8 queries.*watching"):
        require_queries(None, tokens=20, window=8, method="SnapKV")
    with pytest.raises(GalleyError, match=r"got 3 of the prompt's last 8 queries.*window=8"):
        require_queries(torch.zeros(1, 2, 3, 4), tokens=20, window=8, method="SnapKV")
    assert require_queries(torch.zeros(1, 2, 9, 4), tokens=20, window=8, method="").shape[2] == 8


def test_the_scale_is_the_models():
    assert attention_scale(LlamaConfig(hidden_size=64, num_attention_heads=4)) == 0.25
    assert attention_scale(GraniteConfig(attention_multiplier=0.5)) == 0.5


def test_of_equal_votes_the_earlier_win():
    assert winners(torch.tensor([1.0, 2.0, 2.0, 2.0, 0.0]), 2).tolist() == [1, 2]
    assert winners(torch.zeros(2000), 50).tolist() == list(range(50))

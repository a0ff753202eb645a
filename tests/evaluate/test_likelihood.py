import math

import pytest
import torch
from torch.nn import functional as F
from transformers import DynamicCache

from galley.artifact import GalleyError
from galley.evaluate.likelihood import Windows, cached_continuation, final_states, heldout_windows, not_run, score_windows
from galley.models.scratch import build_llama, train_tokenizer

TEXT = "The café's 42 naïve guests paid 1,999 € for déjà vu; nobody minded. "


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer([TEXT * 20], vocab_size=300)


@pytest.fixture(scope="module")
def models():
    made = [
        build_llama(vocab_size=300, d_model=32, n_layers=2, n_heads=2, n_kv_heads=1, d_ff=48, context=700, seed=s).eval() for s in (0, 1)
    ]
    with torch.no_grad():
        for model in made:
            for p in model.parameters():
                p.mul_(3.0)
    return made


def documents(n=4, sources=("b", "a")):
    return [{"id": f"{s}/{i}", "source": s, "text": f"{s}{i}: " + TEXT * 12} for s in sources for i in range(n)]


def windows_of(tokens, n=3):
    ids = torch.randint(1, 300, (n, tokens), generator=torch.Generator().manual_seed(3))
    sizes = torch.rand(n, tokens, generator=torch.Generator().manual_seed(4), dtype=torch.float64) + 1
    return Windows(ids, sizes, tuple(f"w{i}" for i in range(n)))


def test_bits_per_byte_is_the_plain_cross_entropy(models):
    windows = windows_of(600)  # longer than two chunks of logits
    got = score_windows(models[0], windows, batch_size=2)
    assert list(got["item_id"]) == ["w0", "w1", "w2"]
    for i, row in enumerate(got.itertuples()):
        with torch.no_grad():
            logits = models[0](windows.ids[i : i + 1]).logits[0, :-1]
        nll = F.cross_entropy(logits.double(), windows.ids[i, 1:], reduction="sum")
        size = float(windows.token_bytes[i, 1:].sum())
        assert row.weight == pytest.approx(size)
        assert row.score == pytest.approx(float(nll) / math.log(2) / size, rel=1e-5)


def test_kl_to_the_original_against_its_definition_and_from_kept_states(models):
    windows = windows_of(300)
    got = score_windows(models[1], windows, reference=models[0])
    kept = score_windows(models[1], windows, reference=models[0], reference_states=final_states(models[0], windows, batch_size=2))
    assert kept["score"].tolist() == pytest.approx(got["score"].tolist(), rel=1e-5)
    for i, row in enumerate(got[got["metric"] == "kl_to_original"].itertuples()):
        with torch.no_grad():
            p, q = (m(windows.ids[i : i + 1]).logits[0, :-1].double().log_softmax(-1) for m in models)
        assert row.score == pytest.approx(float((p.exp() * (p - q)).sum(-1).mean()), rel=1e-4)
        assert row.score > 0.01
    assert (score_windows(models[0], windows, reference=models[0]).query("metric == 'kl_to_original'")["score"] == 0).all()


@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_a_continuation_through_a_plain_cache_scores_like_no_cache(models, chunk):
    windows = windows_of(60)
    got = cached_continuation(models[0], windows, prefix_tokens=25, make_cache=DynamicCache, chunk=chunk)
    for i, row in enumerate(got.itertuples()):
        with torch.no_grad():
            logits = models[0](windows.ids[i : i + 1], use_cache=False).logits[0, 24:-1]
        nll = F.cross_entropy(logits.double(), windows.ids[i, 25:], reduction="sum")
        assert row.score == pytest.approx(float(nll) / math.log(2) / float(windows.token_bytes[i, 25:].sum()), rel=1e-4)


def test_a_continuation_sees_its_prefix_only_through_the_cache(models):
    class Forgetful(DynamicCache):
        def update(self, keys, values, layer_idx, *args, **kwargs):
            kept = super().update(keys, values, layer_idx, *args, **kwargs)
            self.layers[layer_idx].keys.mul_(0.0)
            return kept

    windows = windows_of(60)
    plain = cached_continuation(models[0], windows, prefix_tokens=25)
    broken = cached_continuation(models[0], windows, prefix_tokens=25, make_cache=Forgetful)
    assert (abs(plain["score"] - broken["score"]) > 1e-3).all()


@pytest.mark.parametrize("prefix", [0, 60])
def test_a_prefix_outside_the_window_is_refused(models, prefix):
    with pytest.raises(GalleyError, match=rf"prefix is {prefix}; windows have 60"):
        cached_continuation(models[0], windows_of(60), prefix_tokens=prefix)


def test_sources_take_turns_and_windows_stay_inside_documents(tokenizer):
    windows = heldout_windows(documents(), tokenizer, n_windows=6, window_tokens=50, seed=0)
    assert [name[0] for name in windows.names] == ["a", "b"] * 3
    assert len(set(windows.names)) == 6
    texts = {d["id"]: d["text"] for d in documents()}
    for ids, name in zip(windows.ids, windows.names, strict=True):
        assert texts[name].startswith(tokenizer.decode(ids).rstrip("�"))


def test_the_bytes_of_a_window_are_those_of_its_scored_text(tokenizer):
    windows = heldout_windows(documents(), tokenizer, n_windows=4, window_tokens=64, seed=1)
    for ids, sizes in zip(windows.ids, windows.token_bytes, strict=True):
        assert float(sizes[1:].sum()) == pytest.approx(len(tokenizer.decode(ids[1:]).encode()))


def test_windows_depend_on_the_seed_alone_and_head_keeps_the_first(tokenizer):
    first, again, other = (heldout_windows(documents(8), tokenizer, n_windows=6, window_tokens=50, seed=s) for s in (0, 0, 1))
    assert first.names == again.names and torch.equal(first.ids, again.ids)
    assert first.names != other.names
    assert first.head(2).names == first.names[:2] and torch.equal(first.head(2).ids, first.ids[:2])


def test_too_little_text_names_the_way_out(tokenizer):
    with pytest.raises(GalleyError, match=r"only 8 windows of 50 tokens; lower heldout\.windows"):
        heldout_windows(documents(), tokenizer, n_windows=9, window_tokens=50, seed=0)
    with pytest.raises(GalleyError, match="only 0 windows of 5000 tokens"):
        heldout_windows(documents(), tokenizer, n_windows=1, window_tokens=5000, seed=0)


def test_not_run_has_a_reason_and_no_score():
    row = not_run("b", "m", "u", "why")
    assert math.isnan(row["score"]) and (row["status"], row["reason"], row["item_id"]) == ("not_run", "why", "")

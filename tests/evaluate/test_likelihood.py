import math

import pytest
import torch
from torch.nn import functional as F
from transformers import DynamicCache
from window_runs import window_models, windows_of

from galley.artifact import GalleyError
from galley.evaluate.likelihood import cached_continuation, heldout_windows, not_run
from galley.models.scratch import train_tokenizer

TEXT = "The café's 42 naïve guests paid 1,999 € for déjà vu; nobody minded. "


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer([TEXT * 20], vocab_size=300)


@pytest.fixture(scope="module")
def models():
    return window_models()


def documents(n=4, sources=("b", "a")):
    return [{"id": f"{s}/{i}", "source": s, "text": f"{s}{i}: " + TEXT * 12} for s in sources for i in range(n)]


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

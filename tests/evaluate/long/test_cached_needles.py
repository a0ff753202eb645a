import pytest
import torch
from tiny import tiny_llama
from transformers import DynamicCache

from galley.artifact import GalleyError
from galley.caches.compressed import CompressedCache, CompressedLayer
from galley.evaluate.long.cached_needles import build_needle_grid, read_answer, score_needles

HAY = ["The sea was calm that day. A boat went out. " * 60, "Rain fell on the hills. Nobody came. " * 60]


class Letters:
    """A tokenizer of characters, so that every prompt's length and text are plain to see."""

    def __call__(self, text, **_):
        return {"input_ids": [ord(c) for c in text]}

    def decode(self, ids):
        return "".join(map(chr, ids))


@pytest.fixture
def letters():
    return Letters()


def grid(tokenizer, **change):
    settings = {"context": 4000, "lengths": [300, 400], "depths": [0.0, 0.5, 1.0], "repeats": 2, "seed": 0} | change
    return build_needle_grid(HAY, tokenizer, **settings)


def test_every_cell_has_its_prompts_with_the_fact_inside(letters):
    items = grid(letters)
    assert len(items) == len({item.item_id for item in items}) == 2 * 3 * 2
    for item in items:
        answer = letters.decode(item.answer).strip()
        assert len(item.prompt) == item.length - 12
        assert answer.isdigit() and letters.decode(item.prompt).count(answer) == 1
    assert grid(letters) == items != grid(letters, seed=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"context": 350}, "context is 350"), ({"lengths": [100]}, "leaves"), ({"depths": [1.2]}, "depth is 1.2")],
)
def test_a_grid_that_does_not_fit_is_refused(letters, change, message):
    with pytest.raises(GalleyError, match=message):
        grid(letters, **change)


def test_a_full_cache_scores_as_one_forward_does_and_a_cut_one_does_not(letters):
    model = tiny_llama(vocab=128)
    model.config.max_position_embeddings = 4000
    item = grid(letters, lengths=[300], depths=[0.5], repeats=1)[0]

    def full(prompt, _):
        return CompressedCache(layers=[CompressedLayer() for _ in prompt.keys]).fill(prompt)

    def cut(prompt, _):
        cache = DynamicCache(config=model.config)
        for layer, (k, v) in enumerate(zip(prompt.keys, prompt.values, strict=True)):
            cache.update(k[..., -20:, :], v[..., -20:, :], layer)
        return cache

    rows = score_needles(model, [item], makers={"full": full, "cut": cut}, window=1).set_index(["method", "metric"])["score"]
    with torch.no_grad():
        logits = model(torch.tensor([[*item.prompt, *item.answer[:-1]]])).logits[0, -len(item.answer) :]
    gold = torch.tensor(item.answer)
    assert rows["full", "answer_nll"] == pytest.approx(float(torch.nn.functional.cross_entropy(logits, gold)), abs=1e-4)
    assert rows["full", "answer_accuracy"] == pytest.approx(float((logits.argmax(-1) == gold).float().mean()))
    assert abs(rows["cut", "answer_nll"] - rows["full", "answer_nll"]) > 1e-3


def test_an_answer_that_the_model_gives_is_a_hit(letters):
    model = tiny_llama(vocab=128)
    item = grid(letters, lengths=[300], depths=[0.5], repeats=1)[0]
    answer = []
    with torch.no_grad():
        for _ in range(4):
            answer.append(int(model(torch.tensor([[*item.prompt, *answer]])).logits[0, -1].argmax()))
    own = type(item)(item.item_id, item.length, item.prompt, tuple(answer))
    cache = DynamicCache(config=model.config)
    with torch.no_grad():
        model(torch.tensor([item.prompt[:-1]]), past_key_values=cache)
    _, accuracy, hit = read_answer(model, cache, own)
    assert accuracy == hit == 1.0

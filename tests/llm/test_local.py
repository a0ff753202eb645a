"""The local backend on a tiny random model, against a slow loop of one token at a time."""

import pytest
import torch
from tiny import tiny_llama
from transformers import LogitsProcessor

from galley.artifact import GalleyError
from galley.llm import HFBackend, ResponseCache
from galley.llm.local import SampleRows
from galley.models.scratch import train_tokenizer

PROMPTS = ["def add(a, b):", "x", "import os\nimport sys\nfor name in os.listdir", "return"]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(
        ["def add(a, b):\n    return a + b\nimport os, sys\nfor name in os.listdir('.'):\n    print(name)\n"] * 20, vocab_size=300
    )


@pytest.fixture(scope="module")
def model(tokenizer):
    return tiny_llama(vocab=len(tokenizer), seed=3)


def greedy_twin(model, ids, ends, steps):
    """Return what greedy search draws, without padding, batches or a cache."""
    out = []
    for _ in range(steps):
        with torch.no_grad():
            token = int(model(torch.tensor([ids + out])).logits[0, -1].argmax())
        out.append(token)
        if token in ends:
            break
    return out


def test_greedy_batches_equal_the_slow_loop(model, tokenizer):
    made = HFBackend(model, tokenizer, batch_size=3)
    done = [row[0] for row in made.generate(PROMPTS, max_tokens=12)]
    for prompt, completion in zip(PROMPTS, done, strict=True):
        ids = greedy_twin(model, made.encode(prompt), made.ends, 12)
        ended = ids[-1] in made.ends
        text = tokenizer.decode(ids[:-1] if ended else ids, skip_special_tokens=True)
        assert (completion.text, completion.finish, completion.tokens) == (text, "stop" if ended else "length", len(ids))


def test_samples_do_not_depend_on_their_batch_and_differ_by_seed(model, tokenizer):
    settings = {"n": 3, "temperature": 0.9, "top_p": 0.95, "max_tokens": 10}
    one, many = HFBackend(model, tokenizer, batch_size=1), HFBackend(model, tokenizer, batch_size=5)
    alone = one.generate(PROMPTS, seed=1, **settings)
    assert many.generate(PROMPTS, seed=1, **settings) == alone
    assert many.generate(PROMPTS[2:], seed=1, **settings) == alone[2:]
    assert many.generate(PROMPTS, seed=2, **settings) != alone
    assert len({c.text for c in alone[0]}) > 1


def test_gumbel_noise_draws_from_the_softmax_and_stays_in_the_nucleus():
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0]]).repeat(4000, 1)
    expected = torch.softmax(logits[0] / 0.7, 0)
    drawn = SampleRows(range(4000), 0.7, 1.0)(None, logits).argmax(1)
    shares = torch.bincount(drawn, minlength=4) / 4000
    assert torch.allclose(shares, expected, atol=4 * 0.5 / 4000**0.5)
    kept = SampleRows(range(4000), 0.7, 0.9)(None, logits).argmax(1)
    assert set(kept.tolist()) == {0, 1}  # 0.79 + 0.18 passes 0.9


class Say(LogitsProcessor):
    """Make a model say known tokens, whatever it thinks."""

    def __init__(self, ids, width):
        self.ids, self.width = ids, width

    def __call__(self, input_ids, scores):
        step = input_ids.shape[1] - self.width
        forced = torch.full_like(scores, -1e9)
        forced[:, self.ids[min(step, len(self.ids) - 1)]] = 0.0
        return forced


def test_a_stop_string_ends_its_row_and_is_cut_but_one_in_the_prompt_is_not_seen(model, tokenizer, monkeypatch):
    said = tokenizer("    return a\nprint(name)\nprint(name)")["input_ids"]
    made = HFBackend(model, tokenizer, batch_size=2)
    real, steps = model.generate, []

    def generate(rows, *, logits_processor, **more):
        logits_processor.append(Say(said, rows.shape[1]))
        out = real(rows, logits_processor=logits_processor, **more)
        steps.append(out.shape[1] - rows.shape[1])
        return out

    monkeypatch.setattr(model, "generate", generate)
    ((a,), (b,)) = made.generate(["x\nprint", "y\nprint(1)\nprint"], max_tokens=len(said), stop=["\nprint", "\nclass"])
    assert a.text == b.text == "    return a" and a.finish == "stop" and a.tokens < len(said)
    assert steps[0] < len(said)
    ((c,),) = made.generate(["x"], max_tokens=len(said), stop=["\nclass"])
    assert c.finish == "length" and c.text.endswith("print(name)") and c.tokens == len(said)


def test_a_prompt_without_room_fails_alone(model, tokenizer):
    made = HFBackend(model, tokenizer)
    (long,), (short,) = made.generate(["x " * 300, "x"], max_tokens=4)
    assert long.finish == "failed" and "there is room for 1 to 124" in long.reason and short.finish in ("stop", "length")


def test_messages_need_a_chat_template_and_a_last_assistant_turn_is_continued(model, tokenizer):
    made = HFBackend(model, tokenizer)
    with pytest.raises(GalleyError, match="no chat template"):
        made.generate([[{"role": "user", "content": "hi"}]])
    made.tokenizer.chat_template = (
        "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% if not loop.last %}</>{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    try:
        open_turn = made.encode([{"role": "user", "content": "hi"}, {"role": "assistant", "content": "def"}])
        assert tokenizer.decode(open_turn) == "<user>hi</><assistant>def"
        assert tokenizer.decode(made.encode([{"role": "user", "content": "hi"}])) == "<user>hi<assistant>"
    finally:
        made.tokenizer.chat_template = None


def test_what_was_drawn_is_kept_and_drawn_once(model, tokenizer, tmp_path, monkeypatch):
    with pytest.raises(GalleyError, match="no identity"):
        HFBackend(model, tokenizer, cache=ResponseCache(tmp_path))
    made = HFBackend(model, tokenizer, identity="tiny", cache=ResponseCache(tmp_path), batch_size=1)
    first = made.generate(PROMPTS[:2], max_tokens=3)
    calls, real = [], model.generate
    monkeypatch.setattr(model, "generate", lambda *a, **k: calls.append(1) or real(*a, **k))
    both = made.generate(PROMPTS, max_tokens=3)
    assert both[:2] == first and len(calls) == 2


def test_the_model_s_own_sampling_defaults_do_not_leak_in(model, tokenizer, monkeypatch):
    plain = HFBackend(model, tokenizer).generate(PROMPTS, max_tokens=8)
    for name, value in {"repetition_penalty": 5.0, "do_sample": True, "top_k": 2, "temperature": 3.0, "no_repeat_ngram_size": 1}.items():
        monkeypatch.setattr(model.generation_config, name, value)
    assert HFBackend(model, tokenizer).generate(PROMPTS, max_tokens=8) == plain

import numpy as np
import pytest
import torch

from galley.artifact import GalleyError
from galley.evaluate.induction import answer_nll, induction_gap
from galley.models.answers import SftExample
from galley.train.char_model import build_char_model
from galley.train.sft import SftConfig, train_sft

EXAMPLES = [SftExample(f"{a}{b}=", f"{b}{a}{a}") for a in "abcd" for b in "abcd" if a != b]


@pytest.fixture(scope="module")
def trained():
    model, tokenizer = build_char_model("abcd=", seed=0, d_model=32, n_layers=2, n_heads=2, d_ff=48)
    train_sft(model, tokenizer, EXAMPLES, SftConfig(steps=60, answer_tokens=48, lr=1e-2, max_tokens=16))
    return model, tokenizer


@torch.no_grad()
def test_nll_is_that_of_the_plain_sum(trained):
    model, tokenizer = trained
    ragged = [*EXAMPLES[:3], SftExample("aaaa=", "b"), SftExample("a=", "bcdbcd")]
    got = answer_nll(model, tokenizer, ragged, batch_size=2)
    for example, value in zip(ragged, got, strict=True):
        prompt = tokenizer(example.prompt, add_special_tokens=False)["input_ids"]
        answer = [*tokenizer(example.answer, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        log_p = model(torch.tensor([prompt + answer])).logits[0].log_softmax(-1)
        want = -sum(float(log_p[len(prompt) - 1 + i, token]) for i, token in enumerate(answer)) / len(answer)
        assert value == pytest.approx(want, abs=1e-5)


def test_a_model_that_reads_its_cases_has_a_gap_and_one_that_does_not_has_none(trained):
    model, tokenizer = trained
    gap = induction_gap(model, tokenizer, EXAMPLES, seed=0)
    assert gap.gap.mean() > 0.5 and len(gap.gap) == len(EXAMPLES)
    # Answers learnt from exchanged cases: style without induction.
    blind, _ = build_char_model("abcd=", seed=0, d_model=32, n_layers=2, n_heads=2, d_ff=48)
    rng = np.random.default_rng(0)
    noise = [SftExample(EXAMPLES[int(rng.integers(len(EXAMPLES)))].prompt, e.answer) for _ in range(20) for e in EXAMPLES]
    train_sft(blind, tokenizer, noise, SftConfig(steps=60, answer_tokens=48, lr=1e-2, max_tokens=16))
    assert abs(induction_gap(blind, tokenizer, EXAMPLES, seed=0).gap.mean()) < 0.2 * gap.gap.mean()


def test_other_prompts_can_be_given(trained):
    model, tokenizer = trained
    same = induction_gap(model, tokenizer, EXAMPLES, seed=0, others=[e.prompt for e in EXAMPLES])
    assert np.allclose(same.gap, 0, atol=1e-6)
    with pytest.raises(GalleyError, match="one each"):
        induction_gap(model, tokenizer, EXAMPLES, seed=0, others=["a="])

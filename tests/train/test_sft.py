import pytest
import torch
from torch.nn import functional as F

from galley.artifact import GalleyError
from galley.models.answers import IGNORE, SftExample, encode, pad_rows
from galley.train.char_model import build_char_model
from galley.train.sft import SftConfig, answer_loss, fitting, plan_steps, train_sft

ALPHABET = "0123456789=+abc"
EXAMPLES = [SftExample(f"{a}+{b}=", str(a + b)) for a in range(6) for b in range(0, 12, 3)]
CONFIG = SftConfig(steps=9, answer_tokens=17, lr=1e-2, batch_size=4, max_tokens=16, warmup_steps=2, decay_steps=3, state_every=3)


def tiny(seed=0):
    return build_char_model(ALPHABET, seed=seed, d_model=32, n_layers=2, n_heads=2, d_ff=48)


def some_rows(keep=None):
    model, tokenizer = tiny()
    return model, pad_rows([encode(e, tokenizer) for e in EXAMPLES[:5]], pad=0, keep=keep)


def test_the_loss_is_cross_entropy_with_an_ignore_index():
    model, rows = some_rows()
    logits = model(rows.ids).logits[:, :-1]
    twin = F.cross_entropy(logits.flatten(0, 1), rows.targets[:, 1:].flatten(), ignore_index=IGNORE)
    assert torch.allclose(answer_loss(model, rows), twin, atol=1e-6)


def test_masked_tokens_contribute_exactly_nothing():
    model, rows = some_rows()
    answer_loss(model, rows).backward()
    grads = [p.grad.clone() for p in model.parameters()]
    # What stands where no answer is asked for, after the last one asked for, is of no consequence to a bit.
    ids = rows.ids.clone()
    last = (rows.targets != IGNORE).long().cumsum(1).argmax(1)
    for row, end in zip(ids, last, strict=True):
        row[end + 1 :] = 7
    model.zero_grad()
    again = answer_loss(model, rows._replace(ids=ids))
    again.backward()
    assert all(torch.equal(a, p.grad) for a, p in zip(grads, model.parameters(), strict=True))
    assert int((rows.targets != IGNORE).sum()) == rows.answer_tokens == sum(len(e.answer) + 1 for e in EXAMPLES[:5])


def test_the_prompt_is_no_target():
    _, rows = some_rows()
    lengths = [len(e.prompt) for e in EXAMPLES[:5]]
    for i, n in enumerate(lengths):
        assert (rows.targets[i, :n] == IGNORE).all()
        assert rows.targets[i, n] == rows.ids[i, n]


@pytest.mark.parametrize("answers", [[1, 2, 3], [40, 2, 9, 9, 1]])
def test_every_step_has_exactly_its_answer_tokens(answers):
    plan = plan_steps(answers, steps=30, answer_tokens=17, seed=1)
    assert [sum(n for _, n in step) for step in plan] == [17] * 30
    assert all(0 < n <= answers[i] for step in plan for i, n in step)
    first = [i for step in plan for i, _ in step][: len(answers)]
    assert sorted(first) == list(range(len(answers)))
    assert plan == plan_steps(answers, steps=30, answer_tokens=17, seed=1) != plan_steps(answers, steps=30, answer_tokens=17, seed=2)


def test_arms_of_unlike_answers_see_equal_answer_tokens():
    logs = []
    for examples in (EXAMPLES, [SftExample(e.prompt, e.answer + "abcabc") for e in EXAMPLES]):
        model, tokenizer = tiny()
        logs.append(train_sft(model, tokenizer, examples, CONFIG))
    assert logs[0]["answer_tokens"].sum() == logs[1]["answer_tokens"].sum() == 9 * 17
    assert logs[0]["tokens"].sum() > logs[1]["tokens"].sum()  # short answers need more prompts


def test_micro_batches_do_not_change_the_run():
    runs = []
    for size in (2, 64):
        model, tokenizer = tiny()
        train_sft(model, tokenizer, EXAMPLES, SftConfig(**{**CONFIG.__dict__, "batch_size": size}))
        runs.append(model.lm_head.weight)
    assert torch.allclose(*runs, atol=1e-4)


class Killed(Exception):
    pass


@pytest.mark.parametrize("at", [4, 8])
def test_a_killed_run_resumes_to_the_same_bytes(tmp_path, at):
    whole, tokenizer = tiny()
    log = train_sft(whole, tokenizer, EXAMPLES, CONFIG)

    def kill(step, model):
        raise Killed

    with pytest.raises(Killed):
        train_sft(tiny()[0], tokenizer, EXAMPLES, CONFIG, state=tmp_path / "s", on_step=kill, at_steps=[at])
    again = tiny()[0]
    assert train_sft(again, tokenizer, EXAMPLES, CONFIG, state=tmp_path / "s").equals(log)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))


def test_it_learns():
    model, tokenizer = tiny()
    log = train_sft(model, tokenizer, EXAMPLES, SftConfig(**{**CONFIG.__dict__, "steps": 60, "answer_tokens": 40}))
    assert log["loss"].iloc[-1] < 0.5 * log["loss"].iloc[0]


def test_what_a_user_can_put_right():
    model, tokenizer = tiny()
    long = [*EXAMPLES, SftExample("1" * 30, "2")]
    with pytest.raises(GalleyError, match="max_tokens is 16"):
        train_sft(model, tokenizer, long, CONFIG)
    assert fitting(long, tokenizer, max_tokens=16) == list(range(len(EXAMPLES)))
    with pytest.raises(GalleyError, match="no examples"):
        train_sft(model, tokenizer, [], CONFIG)

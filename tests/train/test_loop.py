import json

import pytest
import torch
from tiny import tiny_llama
from torch.nn import functional as F

from galley.artifact import GalleyError
from galley.train.loop import TrainConfig, micro_batches, train
from galley.train.loss import HeadLoss, next_token_loss
from galley.train.packing import batch, pack
from galley.train.schedule import warmup_stable_decay
from galley.train.workers import Workers


def data(n=24, t=16):
    return torch.randint(1, 97, (n, t), generator=torch.Generator().manual_seed(3))


CONFIG = TrainConfig(steps=12, batch_size=2, seq_len=16, lr=1e-2, warmup_steps=2, decay_steps=4, state_every=3)


class Killed(Exception):
    pass


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("at", [2, 5, 11])
def test_a_killed_run_resumes_to_the_same_bytes(tmp_path, at, dtype):
    config = TrainConfig(**{**CONFIG.__dict__, "dtype": dtype})
    whole = tiny_llama()
    log = train(whole, data(), config)

    def kill(step, model):
        raise Killed

    with pytest.raises(Killed):
        train(tiny_llama(), data(), config, state=tmp_path / "state", on_step=kill, at_steps=[at])
    again = tiny_llama()
    resumed = train(again, data(), config, state=tmp_path / "state")
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))
    assert resumed.equals(log)
    assert not (tmp_path / "state").exists()


def test_state_of_another_run_is_not_used(tmp_path):
    def kill(step, model):
        raise Killed

    with pytest.raises(Killed):
        train(tiny_llama(), data(), CONFIG, state=tmp_path / "s", on_step=kill, at_steps=[7])
    other = TrainConfig(**{**CONFIG.__dict__, "lr": 1e-3})
    a, b = tiny_llama(), tiny_llama()
    train(a, data(), other, state=tmp_path / "s")
    train(b, data(), other)
    assert torch.equal(a.lm_head.weight, b.lm_head.weight)


def test_training_learns():
    log = train(tiny_llama(), data(4), TrainConfig(steps=40, batch_size=4, seq_len=16, lr=1e-2))
    assert log["loss"].iloc[-1] < 0.5 * log["loss"].iloc[0]


def test_attention_only_leaves_the_rest(tmp_path):
    before, after = tiny_llama(), tiny_llama()
    train(after, data(), TrainConfig(**{**CONFIG.__dict__, "trainable": "attention"}))
    for (name, a), (_, b) in zip(before.named_parameters(), after.named_parameters(), strict=True):
        assert torch.equal(a, b) != (".self_attn." in name), name


def test_chunked_loss_equals_the_plain_one(monkeypatch):
    model, ids = tiny_llama(), data(2)
    plain = F.cross_entropy(model(ids).logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    plain.backward()
    gradient = model.lm_head.weight.grad.clone()
    model.zero_grad()
    model.lm_head.out_features = 2**24  # force the chunked path
    loss = next_token_loss(model, ids, chunk=7)
    loss.backward()
    assert loss.item() == pytest.approx(plain.item(), abs=1e-6)
    assert torch.allclose(model.lm_head.weight.grad, gradient, atol=1e-6)


def test_batches_are_epochs_of_permutations():
    rows = torch.arange(10)[:, None]
    seen = torch.cat([batch(rows, step=s, batch_size=4, seed=1) for s in range(5)]).flatten().tolist()
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10)) and seen[:10] != seen[10:]


def test_schedule_of_the_paper():
    factors = [warmup_stable_decay(s, steps=20, warmup=4, decay=5) for s in range(20)]
    assert factors[:4] == [0.25, 0.5, 0.75, 1.0] and set(factors[4:16]) == {1.0}
    assert factors[16] == pytest.approx(1 - (1 / 5) ** 0.5) and factors[19] > 0


@pytest.mark.parametrize(("field", "value"), [("dtype", "int8"), ("seq_len", 17), ("trainable", "mlp")])
def test_refusals_name_the_field(field, value):
    with pytest.raises(GalleyError, match=field):
        train(tiny_llama(), data(), TrainConfig(**{**CONFIG.__dict__, field: value}))


def test_pack_refuses_too_little_text():
    from galley.models.scratch import train_tokenizer

    tokenizer = train_tokenizer(["abc " * 50], vocab_size=280)
    assert pack(["abc abc"] * 9, tokenizer, seq_len=4, seed=0).shape[1] == 4
    with pytest.raises(GalleyError, match="seq_len"):
        pack(["abc"], tokenizer, seq_len=400, seed=0)


def test_accumulated_micro_batches_equal_one_large_batch():
    curves = []
    for batch_size, accumulate in ((4, 1), (2, 2), (1, 4)):
        config = TrainConfig(steps=4, batch_size=batch_size, accumulate=accumulate, seq_len=24, lr=1e-3)
        curves.append(torch.tensor(train(tiny_llama(), data(16, 24), config)["loss"].tolist()))
    assert torch.allclose(curves[0], curves[1], atol=1e-4) and torch.allclose(curves[0], curves[2], atol=1e-4)


def test_a_global_batch_is_met_or_refused():
    assert micro_batches(None, seq_len=8, batch_size=3) == 1
    assert micro_batches(131072, seq_len=2048, batch_size=4, world_size=4) == 4
    with pytest.raises(GalleyError, match=r"tokens_per_step is 131,072.*batch_size to one of \[1, 2, 4"):
        micro_batches(131072, seq_len=2048, batch_size=3, world_size=4)


@pytest.mark.parametrize("chunk", [7, 64])
def test_chunked_head_loss_and_gradients_equal_the_plain_cross_entropy(chunk):
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(50, 16, generator=generator, dtype=torch.float64)
    weight = torch.randn(33, 16, generator=generator, dtype=torch.float64)
    targets = torch.randint(0, 33, (50,), generator=generator)
    plain = [x.clone().requires_grad_() for x in (hidden, weight)]
    ours = [x.clone().requires_grad_() for x in (hidden, weight)]
    expected = torch.nn.functional.cross_entropy(plain[0] @ plain[1].T, targets)
    (3 * expected).backward()
    got = HeadLoss.apply(*ours, targets, chunk)
    (3 * got).backward()
    assert torch.allclose(got.double(), expected, atol=1e-5)
    for a, b in zip(ours, plain, strict=True):
        assert torch.allclose(a.grad, b.grad, atol=1e-6)


def test_a_state_of_other_processes_is_refused(tmp_path):
    def kill(step, model):
        raise Killed

    with pytest.raises(Killed):
        train(tiny_llama(), data(), CONFIG, state=tmp_path / "s", on_step=kill, at_steps=[7])

    class Two(Workers):
        size = 2

    halves = TrainConfig(**{**CONFIG.__dict__, "accumulate": 1})
    state = json.loads((tmp_path / "s/state.json").read_text())
    assert state["processes"] == 1 and state["step"] == 6
    whole = TrainConfig(**{**CONFIG.__dict__, "accumulate": 2})
    with pytest.raises(Killed):
        train(tiny_llama(), data(), whole, state=tmp_path / "t", on_step=kill, at_steps=[7])
    with pytest.raises(GalleyError, match="kept by 1 processes, and this run has 2"):
        train(tiny_llama(), data(), halves, state=tmp_path / "t", workers=Two())

import pytest
import torch
from tiny import tiny_llama

from galley.papers.mha2mla.convert import convert_mla
from galley.train.distill import distill_attention


def data(n=16, t=24):
    return torch.randint(1, 97, (n, t), generator=torch.Generator().manual_seed(3))


def student(teacher, *, d_kv=8):
    return convert_mla(teacher, strategy="high", r=2, d_kv=d_kv)


def test_distilled_layers_come_nearer_to_the_original():
    teacher = tiny_llama()
    model = student(teacher)
    ids = data()[:4]
    with torch.no_grad():
        wanted = teacher(ids).logits
        before = (model(ids).logits - wanted).square().mean()
        rest = model.lm_head.weight.clone(), model.model.layers[0].mlp.up_proj.weight.clone()
    log = distill_attention(model, teacher, data(), steps=60, batch_size=4, lr=3e-3, seed=0)
    with torch.no_grad():
        after = (model(ids).logits - wanted).square().mean()
    assert log["loss"].iloc[-1] < 0.7 * log["loss"].iloc[0]
    assert after < before
    assert torch.equal(rest[0], model.lm_head.weight) and torch.equal(rest[1], model.model.layers[0].mlp.up_proj.weight)
    assert all(p.requires_grad for p in model.parameters())


def test_the_loss_is_the_layers_own_relative_error():
    teacher = tiny_llama(layers=1)
    model = student(teacher)
    first = distill_attention(model, teacher, data(), steps=1, batch_size=16, lr=0.0, seed=0)["loss"].iloc[0]
    grabbed = []
    for m in (model, teacher):
        handle = m.model.layers[0].self_attn.register_forward_hook(lambda module, args, output: grabbed.append(output[0]))
        with torch.no_grad():
            m.model(data(), use_cache=False)
        handle.remove()
    got, wanted = grabbed  # with one layer, both see the same input: the embeddings
    assert first == pytest.approx(((got - wanted).square().sum() / wanted.square().sum()).item(), rel=1e-5)


def test_an_unchanged_model_has_nothing_to_learn():
    teacher = tiny_llama()
    log = distill_attention(convert_mla(teacher, strategy="high", r=8, d_kv=None), teacher,
                            data(), steps=1, batch_size=4, lr=1e-3, seed=0)  # fmt: skip
    assert log["loss"].iloc[0] < 1e-8

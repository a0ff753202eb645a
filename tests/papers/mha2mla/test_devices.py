"""Every step of the recipe on a GPU that is not there: a tensor left on the CPU stops it, as CUDA would."""

import pytest
import torch
from fake_gpu import GPU, fake_gpu, on_fake_gpu
from test_experiment import TEXTS
from tiny import tiny_llama

from galley.caches.latent import LatentCache
from galley.caches.quantized import make_quantized_cache
from galley.evaluate.likelihood import cached_continuation, heldout_windows
from galley.evaluate.long.longbench import evaluate_longbench
from galley.evaluate.long.needle import evaluate_needles
from galley.models.likelihood import final_states, score_windows
from galley.models.scratch import train_tokenizer
from galley.papers.mha2mla import experiment, inspect, low_rank
from galley.papers.mha2mla.calibration import pair_norms, pair_scores
from galley.papers.mha2mla.convert import convert_mla
from galley.papers.mha2mla.plan import Arm
from galley.train.distill import distill_attention
from galley.train.loop import TrainConfig, train

ARM = Arm(method="x", strategy="2-norm", d_kv=16)


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TEXTS, vocab_size=300)


@pytest.fixture
def gpu():
    """The mode, an original of 2 layers and its converted form, all on the fake GPU."""
    real = tiny_llama(vocab=300)
    with fake_gpu() as mode:
        original = on_fake_gpu(real, mode)
        yield mode, original, convert_mla(original, strategy="high", r=2, d_kv=8)


def test_the_fake_gpu_refuses_a_cpu_tensor(gpu):
    _, original, _ = gpu
    with pytest.raises(RuntimeError, match="device"):
        original(torch.zeros(1, 4, dtype=torch.long))
    assert original(torch.zeros(1, 4, dtype=torch.long, device=GPU)).logits.device == GPU


def test_calibration_and_conversion(gpu):
    _, original, _ = gpu
    norms = pair_norms(original, [torch.zeros(2, 8, dtype=torch.long)])
    scores = pair_scores(norms)
    assert scores.device.type == "cpu"  # as it is kept
    for strategy, d_kv, svd, expand in (("2-norm", 8, "joint", True), ("high", 8, "split", False), ("low", None, "joint", False)):
        converted = convert_mla(original, strategy=strategy, r=2, d_kv=d_kv, svd=svd, scores=scores, expand_gqa=expand)
        assert {p.device for p in converted.parameters()} == {GPU}
        converted.generate(torch.zeros(1, 5, dtype=torch.long, device=GPU), max_new_tokens=2, do_sample=False)


@pytest.mark.parametrize(
    "changes", [{}, {"svd": "random"}, {"convert": False}, {"strategy": "none", "d_kv": None}, {"broken": "queries_of_another_head"}]
)
def test_arms(gpu, changes):
    _, original, _ = gpu
    plan = experiment.Plan.model_construct(rope_fraction=1 / 8)
    arm = ARM.model_copy(update={"d_kv": 32, **changes})
    made = experiment.convert_arm(original, arm, plan=plan, scores=torch.rand(2, 2, 8))
    assert {p.device for p in made.parameters()} == {GPU}


def test_exact_checks(gpu):
    _, original, _ = gpu
    plan = experiment.Plan.model_construct(rope_fraction=1 / 8)
    assert inspect.logit_rows(original) and inspect.factorisation_rows(original, plan=plan)
    assert inspect.attention_rows(original, plan=plan)
    scores = torch.rand(2, 2, 8)
    assert inspect.activation_rows(original, torch.zeros(2, 8, dtype=torch.long), scores=scores, plan=plan)
    assert inspect.cache_rows(original, scores=scores)
    assert low_rank.joint_minus_split_errors(original, rope_fraction=1 / 8, d_kv_fraction=0.25)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])  # torch has no autocast for the fake device
def test_training_and_distillation(gpu, dtype):
    _, original, converted = gpu
    config = TrainConfig(steps=2, batch_size=2, accumulate=2, seq_len=16, lr=1e-3, dtype=dtype, chunk=5)
    data = torch.zeros(8, 16, dtype=torch.long)
    converted.lm_head.out_features = 2**24  # force the chunked loss
    distill_attention(converted, original, data, steps=1, batch_size=2, lr=1e-3, seed=0)
    assert len(train(converted, data, config)) == 2


def test_held_out_scores_and_caches(gpu, tokenizer):
    _, original, converted = gpu
    documents = [{"id": f"t/{i}", "text": text, "source": "t"} for i, text in enumerate(TEXTS[:4])]
    windows = heldout_windows(documents, tokenizer, n_windows=2, window_tokens=96, seed=0)
    states = final_states(original, windows)
    assert len(score_windows(converted, windows, reference=original, reference_states=states)) == 4
    for model in (original, converted):
        for backend, nbits in ((None, 0), ("quanto", 2), ("rtn", 1)):  # hqq makes constants in a way that the fake device cannot
            make = (
                (lambda b=backend, n=nbits, m=model: make_quantized_cache(m, backend=b, nbits=n, residual_length=16)) if backend else None
            )
            assert len(cached_continuation(model, windows, prefix_tokens=64, make_cache=make)) == 2
    cache = LatentCache()
    converted(torch.zeros(1, 7, dtype=torch.long, device=GPU), past_key_values=cache, use_cache=True)
    cache.crop(-2)
    assert converted(torch.zeros(1, 1, dtype=torch.long, device=GPU), past_key_values=cache, use_cache=True).logits.device == GPU


def test_benchmarks(gpu, tokenizer):
    _, _, converted = gpu
    converted.config.max_position_embeddings = 512
    needles = evaluate_needles(converted, tokenizer, haystack=TEXTS, lengths=[400], depths=[0.5], seed=0)
    assert len(needles) == 2
    item = {"input": "q", "context": TEXTS[0], "answers": ["a"], "length": 10}
    rows = evaluate_longbench(
        converted, tokenizer, task_items={"multi_news": [item]}, prompts={"multi_news": "{context}"}, maxlen={"multi_news": 4},
        protocol="paper", limit=1, max_length=100,
    )  # fmt: skip
    assert (rows["status"] == "ok").sum() == 1

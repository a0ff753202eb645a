"""Every step of the recipe on a GPU that is not there: a tensor left on the CPU stops it, as CUDA would."""

from pathlib import Path

import pytest
import torch
from fake_gpu import GPU, fake_gpu, on_fake_gpu
from tiny import tiny_llama

from galley.caches.prefill import prefill
from galley.evaluate.long.cached_needles import NeedleItem, read_answer
from galley.papers.fourier_attention import inspect, legt, measures, methods
from galley.papers.fourier_attention.methods import SNAP_WINDOW, make_makers
from galley.papers.fourier_attention.plan import Plan
from galley.papers.fourier_attention.selection import calibrate
from galley.plan import read_plan

RECIPE = Path("recipes/fourier_attention/recipe.yaml")


@pytest.fixture
def gpu():
    """A model of 2 layers and a prompt of 240 tokens, on the fake GPU: a layer takes a second of a device that only counts shapes."""
    real = tiny_llama(layers=2)
    real.config.max_position_embeddings = 512
    legt.legt_maps.cache_clear()  # what it keeps would be another test's fakes
    with fake_gpu(truth=False) as mode:
        model = on_fake_gpu(real, mode)
        yield model, prefill(model, torch.zeros(1, 240, dtype=torch.long, device=GPU), window=SNAP_WINDOW, votes=True)
    legt.legt_maps.cache_clear()


def test_every_method_on_the_gpu(gpu, monkeypatch):
    monkeypatch.setattr(methods, "drawn", lambda plan, prompt: 0)  # the seed of a draw is in the ids, and fake ones hold no numbers
    model, prompt = gpu
    plan = read_plan(RECIPE, "smoke", model=Plan)
    plan = plan.model_copy(update={"calibration": plan.calibration.model_copy(update={"tokens": 240})})
    errors = calibrate(model, [prompt], plan=plan)
    assert len(errors) == 4 and all(t.device.type == "cpu" for t in errors.values())  # they are written to a file
    item = NeedleItem("n", 241, (1,) * 241, (2, 3))
    makers = make_makers(model, errors, plan)
    assert len(makers) == len(plan.methods) > 20
    for name, make in makers.items():
        if not name.startswith("hqq:"):  # it makes constants in a way that the fake device cannot
            read_answer(model, make(prompt, item), item)


def test_every_check_on_the_gpu(gpu, monkeypatch):
    monkeypatch.setattr(inspect, "STEPS", 2)  # the first goes into a cache as it was filled, the second into one that has stepped
    model, prompt = gpu
    plan = read_plan(RECIPE, "smoke", model=Plan)
    errors = {mode: torch.rand(2, 2, prompt.keys[0].shape[1] * prompt.keys[0].shape[3]) for mode in ("ours", "official")}
    assert inspect.push_rows(prompt) and inspect.step_rows(model, prompt, errors=errors, plan=plan)
    assert measures.basis_rows(prompt, plan=plan, channels=4) and measures.spread_rows([prompt], plan=plan)
    assert measures.selection_rows([prompt], plan=plan)
    assert inspect.logit_rows(model.double(), prompt)

"""Two processes over FSDP (gloo, on the CPU) against one: the same losses, the same weights, also after a kill."""

import json
import time
from types import SimpleNamespace

import forked_launch
import pandas as pd
import pytest
import torch
from tiny import tiny_llama
from transformers import AutoModelForCausalLM

from galley.artifact import GalleyError
from galley.models.likelihood import Windows, load_windows, save_windows, score_windows
from galley.models.loading import load_model
from galley.models.scratch import train_tokenizer
from galley.papers.mha2mla.convert import convert_mla
from galley.train import launch
from galley.train.launch import command, launch_training
from galley.train.loop import TrainConfig, train
from galley.train.packing import packed, write_packed

CPU = torch.device("cpu")
# Two processes of 2 x 2 sequences: the global batch of one process with 2 x 4.
HALF = TrainConfig(steps=8, batch_size=2, accumulate=2, seq_len=16, lr=1e-2, warmup_steps=2, decay_steps=3, state_every=2)
WHOLE = TrainConfig(**{**HALF.__dict__, "accumulate": 4})


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    """A converted model, packed data, windows, and what one process makes of them."""
    root = tmp_path_factory.mktemp("launch")
    model = convert_mla(tiny_llama(vocab=300), strategy="high", r=2, d_kv=8)
    model.save_pretrained(root / "start")
    train_tokenizer(["a b c " * 40], vocab_size=300).save_pretrained(root / "start")
    data = torch.randint(1, 300, (40, 16), generator=torch.Generator().manual_seed(3))
    write_packed(data, root / "data.bin")
    ids = torch.randint(1, 300, (3, 12), generator=torch.Generator().manual_seed(4))
    save_windows(Windows(ids, torch.ones(3, 12, dtype=torch.float64), ("a", "b", "c")), root / "windows.safetensors")
    points = {}

    def score(step, current):
        points[step] = score_windows(current, load_windows(root / "windows.safetensors"))

    log = train(model, packed(root / "data.bin", seq_len=16), WHOLE, on_step=score, at_steps=[4])
    return root, model, log, points


def run(root, folder, **changes):
    launch_training(
        folder, HALF, model=root / "start", data=root / "data.bin", out=folder / "out", windows=root / "windows.safetensors",
        at_steps=[4], processes=2, device=CPU, **changes,
    )  # fmt: skip


def equal(root, folder, model, log, points):
    # Two halves are added in another order than one whole: float32 rounding, which eight steps of Adam at 1e-2 amplify.
    losses = pd.read_csv(folder / "out/losses.csv")
    assert (losses["loss"] - log["loss"]).abs().max() < 1e-4 and (losses["lr"] == log["lr"]).all() and (losses["tokens"] == 128).all()
    assert (losses["grad_norm"] - log["grad_norm"]).abs().max() < 1e-3
    again = load_model(folder / "out", dtype=torch.float32)  # safetensors only, through AutoModelForCausalLM
    assert isinstance(again, type(model)) and AutoModelForCausalLM
    gap = max(float((a - b).abs().max()) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    moved = max(
        float((a - b).abs().max())
        for a, b in zip(model.parameters(), load_model(root / "start", dtype=torch.float32).parameters(), strict=True)
    )
    assert gap < 0.05 * moved
    scores = pd.read_parquet(folder / "points/step-4.parquet")
    assert (scores["score"] - points[4]["score"]).abs().max() < 1e-3
    assert not (folder / "train").exists()
    return losses, [p.detach() for p in again.parameters()]


def test_two_processes_equal_one_and_an_interrupted_run_ends_in_the_same_bytes(ground, tmp_path, monkeypatch):
    """The uninterrupted run and the killed one are forked, with the launcher's environment; the launcher itself goes on after the kill."""
    root, model, log, points = ground
    with monkeypatch.context() as patch:
        patch.setattr(launch, "subprocess", SimpleNamespace(run=forked_launch.run))
        run(root, tmp_path / "whole")
    losses, weights = equal(root, tmp_path / "whole", model, log, points)
    folder = tmp_path / "killed"
    job = json.loads((tmp_path / "whole/job.json").read_text().replace(str(tmp_path / "whole"), str(folder)))
    folder.mkdir()
    (folder / "job.json").write_text(json.dumps(job))
    launched = forked_launch.start(command(folder / "job.json", processes=2, device=CPU, config=HALF))
    while not (folder / "train/state.json").exists():  # a step has been kept
        assert all(process.is_alive() for process in launched)
        time.sleep(0.01)
    for process in launched:
        process.kill()
    for process in launched:
        process.join()
    assert json.loads((folder / "train/state.json").read_text())["step"] in (2, 4, 6) and not (folder / "out").exists()
    run(root, folder)
    losses_again, weights_again = equal(root, folder, model, log, points)
    assert losses_again.equals(losses) and all(torch.equal(a, b) for a, b in zip(weights, weights_again, strict=True))


def test_a_missing_configuration_and_a_failed_process_are_said(ground, tmp_path):
    root, *_ = ground
    with pytest.raises(GalleyError, match=r"no launcher configuration at .*none.yaml"):
        run(root, tmp_path / "x", launcher=tmp_path / "none.yaml")

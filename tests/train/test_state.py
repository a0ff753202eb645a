"""A kept step is loaded whole or not at all: a damaged one is said, and the run ends in the bytes of an undisturbed one."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import tiny_llama

from galley.train.loop import TrainConfig, train

CONFIG = TrainConfig(steps=8, batch_size=2, seq_len=16, lr=1e-2, state_every=3)


class Killed(BaseException):
    """A run that ends at some step."""


def kill(step, model):
    raise Killed


def data():
    return torch.randint(0, 97, (16, 16), generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def undisturbed():
    model = tiny_llama()
    return train(model, data(), CONFIG), model.state_dict()


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    state = tmp_path_factory.mktemp("kept") / "state"
    with pytest.raises(Killed):
        train(tiny_llama(), data(), CONFIG, state=state, on_step=kill, at_steps=[5])
    assert json.loads((state / "state.json").read_text())["step"] == 3
    assert sorted(p.name for p in state.parent.iterdir()) == ["state"]
    return state


def cut(path):
    path.write_bytes(path.read_bytes()[:-64])


def change(path, how):
    tensors = load_file(path)
    how(tensors)
    save_file(tensors, path)


DAMAGES = {
    "weights cut off": lambda s: cut(s / "model-0.safetensors"),
    "weights empty": lambda s: (s / "model-0.safetensors").write_bytes(b""),
    "weights missing": lambda s: (s / "model-0.safetensors").unlink(),
    "a weight missing": lambda s: change(s / "model-0.safetensors", lambda t: t.pop("model.norm.weight")),
    "a weight too many": lambda s: change(s / "model-0.safetensors", lambda t: t.update(other=torch.ones(2))),
    "a weight that would be broadcast": lambda s: change(
        s / "model-0.safetensors", lambda t: t.update({"model.norm.weight": torch.ones(1)})
    ),
    "moments cut off": lambda s: cut(s / "optimizer-0.safetensors"),
    "moments missing": lambda s: (s / "optimizer-0.safetensors").unlink(),
    "a moment missing": lambda s: change(s / "optimizer-0.safetensors", lambda t: t.pop("3.exp_avg")),
    "state.json cut off": lambda s: cut(s / "state.json"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_step_is_said_and_the_run_ends_in_the_same_bytes(kept, undisturbed, damage, tmp_path, capsys):
    state = tmp_path / "state"
    shutil.copytree(kept, state)
    damage(state)
    model = tiny_llama()
    log = train(model, data(), CONFIG, state=state)
    assert f"the kept step in {state} is not whole and is not used" in capsys.readouterr().err
    assert log.equals(undisturbed[0])
    assert all(torch.equal(value, undisturbed[1][name]) for name, value in model.state_dict().items())


def test_a_whole_step_is_used_without_a_word(kept, undisturbed, tmp_path, capsys):
    state = tmp_path / "state"
    shutil.copytree(kept, state)
    seen = []
    model = tiny_llama()
    log = train(model, data(), CONFIG, state=state, on_step=lambda step, _: seen.append(step), at_steps=[2, 4])
    assert seen == [4] and "not whole" not in capsys.readouterr().err
    assert log.equals(undisturbed[0])
    assert all(torch.equal(value, undisturbed[1][name]) for name, value in model.state_dict().items())


def test_a_damaged_file_of_one_process_is_everyone_s(kept, tmp_path, capsys):
    """The other process says so by the mean over processes: this one, whose files are whole, must not go on from them."""
    from galley.train.loop import Run, Workers, packed_batches

    class Other(Workers):
        def mean(self, value):
            return (value + 1.0) / 2

    state = tmp_path / "state"
    shutil.copytree(kept, state)
    workers = Other()
    run = Run(tiny_llama(), packed_batches(data(), CONFIG, workers), CONFIG, state=state, workers=workers)
    assert run.first == 0 and run.log == [] and not run.optimizer.state
    assert "not whole" in capsys.readouterr().err

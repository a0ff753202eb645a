import pytest
import torch

from galley.artifact import GalleyError
from galley.models.device import device_name, resolve_device


def test_auto_is_what_the_plan_asks_for():
    assert resolve_device("auto") == resolve_device("cpu", model="m", gpus=8) == torch.device("cpu")
    assert device_name(torch.device("cpu")) == "cpu"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_an_error_with_the_way_out():
    with pytest.raises(GalleyError, match=r"models\.big asks for 8 GPUs, and there is none here: .*--config device=cpu.*scale=laptop"):
        resolve_device("auto", model="big", gpus=8)
    with pytest.raises(GalleyError, match="device is 'cuda', and there is none here"):
        resolve_device("cuda")
    with pytest.raises(GalleyError, match="device is 'tpu'; allowed: auto, cpu, cuda"):
        resolve_device("tpu")


def test_each_process_of_a_launch_takes_its_own_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert resolve_device("auto", model="m", gpus=4) == torch.device("cuda", 3)

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch
from tiny import tiny_llama

torch.set_num_threads(1)


@pytest.fixture
def llama():
    return tiny_llama()


@pytest.fixture
def ids():
    return torch.randint(1, 97, (2, 19), generator=torch.Generator().manual_seed(1))

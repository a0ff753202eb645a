import os
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest

# torch and transformers are imported where they are used: `pytest -n` loads this file before it starts a worker,
# in a process that runs no test.


def pytest_collection_finish():
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture
def llama():
    from tiny import tiny_llama

    return tiny_llama()


@pytest.fixture
def ids():
    import torch

    return torch.randint(1, 97, (2, 19), generator=torch.Generator().manual_seed(1))

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from endpoint_stand_in import Endpoint


@pytest.fixture
def endpoint(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    served = Endpoint()
    yield served
    served.close()

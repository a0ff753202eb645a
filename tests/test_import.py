import subprocess
import sys

import pytest

ORDERS = [
    "import galley; from transformers import AutoModelForCausalLM",
    "import galley; from transformers.models.llama.modeling_llama import LlamaModel",
    "import transformers.models.llama.modeling_llama; import galley",
    "import galley.caches.prefill",
]


@pytest.mark.parametrize("first", ORDERS)
def test_the_converted_architecture_is_known_whatever_is_imported_first(first):
    code = f"{first}\nfrom transformers import AutoModelForCausalLM, AutoConfig\nprint(AutoConfig.for_model('mha2mla_llama').model_type)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stdout.strip() == "mha2mla_llama", run.stderr[-800:]

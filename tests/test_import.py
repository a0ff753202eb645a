import subprocess
import sys

import pytest

ORDERS = [
    "import galley; from transformers import AutoModelForCausalLM",
    "import galley; from transformers.models.llama.modeling_llama import LlamaModel",
    "import transformers.models.llama.modeling_llama; import galley",
    "import galley.caches.prefill",
    "import galley.models.mla",
]


@pytest.mark.parametrize("first", ORDERS)
def test_the_converted_architecture_is_known_whatever_is_imported_first(first):
    code = f"{first}\nfrom transformers import AutoModelForCausalLM, AutoConfig\nprint(AutoConfig.for_model('mha2mla_llama').model_type)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stdout.strip() == "mha2mla_llama", run.stderr[-800:]


def test_hqq_and_the_compiler_wait_for_the_first_quantised_cache():
    code = """
import sys
import galley.papers.mha2mla.inspect
assert not [name for name in sys.modules if name.startswith(("hqq", "torch._inductor.compile_fx", "lm_eval", "datasets"))]
import torch
from transformers import DynamicCache, cache_utils
from transformers.cache_utils import QuantizedCache
sys.path.insert(0, "tests")
from tiny import tiny_llama
model = tiny_llama(d_h=64)
cache = QuantizedCache(backend="hqq", config=model.config, nbits=4, q_group_size=64, residual_length=8)
model(torch.zeros(1, 20, dtype=torch.long), past_key_values=cache, use_cache=True)
from hqq.core.quantize import Quantizer
assert cache_utils.HQQQuantizer is Quantizer
print("ok")
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stdout.strip() == "ok", run.stderr[-800:]

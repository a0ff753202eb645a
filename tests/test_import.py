"""What a process finds that had neither galley nor transformers before (tests/fresh.py): the architecture, and saved models."""

import json

import pytest
import torch
from fresh import run_fresh
from transformers import AutoModelForCausalLM, AutoTokenizer

from galley.artifact import sha256_tree
from galley.caches.latent import LatentCache
from galley.models.scratch import build_llama, train_tokenizer
from galley.papers.mha2mla.convert import convert_mla, save_converted
from galley.papers.mha2mla.own_model import convert_own_model

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
    run = run_fresh(code)
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
    run = run_fresh(code)
    assert run.stdout.strip() == "ok", run.stderr[-800:]


def test_saved_model_loads_in_a_new_process(llama, ids, tmp_path):
    mla = convert_mla(llama, strategy="high", r=2, d_kv=6)
    llama.save_pretrained(tmp_path / "base")
    tokenizer = train_tokenizer(["some text to learn from " * 20], vocab_size=300)
    settings = {"strategy": "high", "r": 2, "d_kv": 6}
    save_converted(mla, tokenizer, tmp_path / "out", source=tmp_path / "base", settings=settings)
    kept = json.loads((tmp_path / "out/manifest.json").read_text())
    assert kept["config"] == settings and kept["inputs"] == {"model": sha256_tree(tmp_path / "base")}
    torch.save(ids, tmp_path / "ids.pt")
    with torch.no_grad():
        torch.save(mla(ids).logits, tmp_path / "logits.pt")
    program = (
        "import sys, torch, galley\n"
        "assert 'torch' in sys.modules and 'transformers' not in sys.modules\n"
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n"
        "AutoTokenizer.from_pretrained('out')\n"
        "m = AutoModelForCausalLM.from_pretrained('out').eval()\n"
        "with torch.no_grad(): got = m(torch.load('ids.pt')).logits\n"
        "assert torch.equal(got, torch.load('logits.pt')), 'other logits'\n"
    )
    done = run_fresh(program, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_model_becomes_a_directory_that_a_fresh_process_loads_and_generates_with(tmp_path):
    base = tmp_path / "base"
    build_llama(vocab_size=300, d_model=128, n_layers=2, n_heads=4, n_kv_heads=2, d_ff=64, context=128, seed=0).eval().save_pretrained(base)
    train_tokenizer(["def f(x): return x + 1\n" * 20], vocab_size=300).save_pretrained(base)
    text = tmp_path / "calibration.txt"
    text.write_text("def g(y): return y * 2\n" * 200)
    convert_own_model(
        str(base), out=tmp_path / "mla", d_kv=8, strategy="2-norm", r=None, svd="joint", balance="balanced", expand_gqa=False,
        calibration=text, dtype="float32", revision=None,
    )  # fmt: skip
    code = (
        "import galley, torch\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n"
        f"path = {str(tmp_path / 'mla')!r}\n"
        "m = AutoModelForCausalLM.from_pretrained(path); t = AutoTokenizer.from_pretrained(path)\n"
        "ids = t('def f', return_tensors='pt')['input_ids']\n"
        "print(type(m).__name__, m.generate(ids, max_new_tokens=8, do_sample=False, pad_token_id=0)[0].tolist())"
    )
    done = run_fresh(code)
    assert done.returncode == 0, done.stderr[-2000:]
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "mla")
    ids = AutoTokenizer.from_pretrained(tmp_path / "mla")("def f", return_tensors="pt")["input_ids"]
    out = model.generate(ids, max_new_tokens=8, do_sample=False, pad_token_id=0, past_key_values=LatentCache())
    assert done.stdout.strip() == f"MlaLlamaForCausalLM {out[0].tolist()}"

"""From a GGUF file to a Hugging Face directory, once, with proof that it is the same model.

Source: ours, on transformers' GGUF loader, which also un-permutes Llama's q and k rows. Two of its
traps are handled: weights must be dequantised explicitly to be saved, and SmolLM2's tokenizer
loses its digit split (GGUF says `pre = smollm`), which is put back.
"""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, PreTrainedTokenizerBase

from galley.artifact import GalleyError, atomic_dir, manifest, room, write_json
from galley.models.checkpoint import check_finite, check_names, loading
from galley.models.loading import load_model, load_tokenizer, weight_bytes

PROBE = "In 1969, 12345 people saw it: def f(x): return x ** 2\n\tNaïve café; 3.14159 € — done."


def convert_gguf(gguf: Path, *, out: Path, name: str, dtype: torch.dtype) -> None:
    """Write `out` as a Hugging Face directory; GalleyError if the reloaded model is not the same.

    `name` is smollm2 or gemma3. The reloaded logits must equal the GGUF-loaded ones bit by bit.
    """
    folder, file = str(gguf.parent), gguf.name
    with loading(gguf):
        tokenizer = fix_tokenizer(AutoTokenizer.from_pretrained(folder, gguf_file=file), name=name)
        model, found = AutoModelForCausalLM.from_pretrained(
            folder, gguf_file=file, dtype=dtype, quantization_config=GgufConfig(dequantize=True), output_loading_info=True
        )
    check_names(found, path=gguf, kind=type(model.eval()).__name__)
    check_finite(model.named_parameters(), where=str(gguf))
    room(out.parent, weight_bytes(model), what=f"the model from {gguf.name}")
    tokenizer.model_max_length = model.config.max_position_embeddings
    ids = tokenizer(PROBE, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        before = model(ids).logits
    with atomic_dir(out) as part:
        model.save_pretrained(part)
        tokenizer.save_pretrained(part)
        del model
        again = load_model(part, dtype=dtype)
        with torch.no_grad():
            gap = float((again(ids).logits - before).abs().max())
        if gap != 0:
            raise GalleyError(f"the model reloaded from {gguf.name} differs from the one saved: largest logit difference {gap}")
        reread = load_tokenizer(part)(PROBE)["input_ids"]
        if reread != ids[0].tolist():
            raise GalleyError(f"the tokenizer reloaded from {gguf.name} splits the probe text differently")
        facts = manifest(stage="prepare-model", config={"name": name, "dtype": str(dtype)}, inputs={"gguf": gguf})
        write_json(part / "manifest.json", {**facts, "logit_gap_after_reload": gap})


def fix_tokenizer(tokenizer: PreTrainedTokenizerBase, *, name: str) -> PreTrainedTokenizerBase:
    """Put back what the GGUF conversion lost: SmolLM2 splits digits one by one before byte-level BPE."""
    if name == "smollm2":
        tokenizer.backend_tokenizer.pre_tokenizer = Sequence(
            [Digits(individual_digits=True), ByteLevel(add_prefix_space=False, use_regex=True)]
        )
    return tokenizer

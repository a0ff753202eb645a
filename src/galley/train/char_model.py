"""A character-level Llama of 0.35M parameters, trained from scratch: enough to learn induction on integer programs in a minute.

Source: ours; 3 layers of width 96, as in the pilot for arXiv:2510.14620 and arXiv:2407.12504.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from galley.models.scratch import EOS, build_llama


def char_tokenizer(alphabet: str) -> PreTrainedTokenizerFast:
    """Return a tokenizer with one token a character of the alphabet, and an end token that also pads; other characters are lost."""
    vocabulary = {EOS: 0} | {char: i + 1 for i, char in enumerate(dict.fromkeys(alphabet))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=EOS))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=EOS, pad_token=EOS)


def build_char_model(
    alphabet: str, *, seed: int, context: int = 128, d_model: int = 96, n_layers: int = 3, n_heads: int = 4, d_ff: int = 272
) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """Return a freshly initialised model in float32 and its tokenizer."""
    tokenizer = char_tokenizer(alphabet)
    model = build_llama(
        vocab_size=len(tokenizer), d_model=d_model, n_layers=n_layers, n_heads=n_heads, n_kv_heads=n_heads, d_ff=d_ff,
        context=context, seed=seed,
    )  # fmt: skip
    return model, tokenizer


@torch.no_grad()
def complete(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    seed: int = 0,
    batch_size: int = 256,
) -> list[str]:
    """Return one completion a prompt, to the end token or `max_new_tokens`; temperature 0 is greedy, else seeded sampling.

    Prompts of equal length share a batch, so no token is ever padded and a completion does not depend on its neighbours' lengths.
    """
    encoded = [tokenizer(p, add_special_tokens=False)["input_ids"] for p in prompts]
    order = sorted(range(len(prompts)), key=lambda i: len(encoded[i]))
    generator = torch.Generator(device=model.device).manual_seed(seed)
    out = [""] * len(prompts)
    at = 0
    while at < len(order):
        length = len(encoded[order[at]])
        group = [i for i in order[at : at + batch_size] if len(encoded[i]) == length]
        at += len(group)
        ids = torch.tensor([encoded[i] for i in group], device=model.device)
        new = _decode(model, ids, end=tokenizer.eos_token_id, steps=max_new_tokens, temperature=temperature, generator=generator)
        for i, row in zip(group, new.tolist(), strict=True):
            kept = row[: row.index(tokenizer.eos_token_id)] if tokenizer.eos_token_id in row else row
            out[i] = tokenizer.decode(kept)
    return out


def _decode(
    model: PreTrainedModel, ids: torch.Tensor, *, end: int, steps: int, temperature: float, generator: torch.Generator
) -> torch.Tensor:
    """Return new tokens (batch, steps at most) after ids (batch, tokens)."""
    done = torch.zeros(len(ids), dtype=torch.bool, device=ids.device)
    cache, tokens, new = None, ids, []
    for _ in range(steps):
        answer = model(tokens, past_key_values=cache, use_cache=True, logits_to_keep=1)
        logits, cache = answer.logits[:, -1].float(), answer.past_key_values
        if temperature:
            tokens = torch.multinomial((logits / temperature).softmax(-1), 1, generator=generator)
        else:
            tokens = logits.argmax(-1, keepdim=True)
        new.append(tokens)
        done |= tokens[:, 0] == end
        if done.all():
            break
    return torch.cat(new, dim=1)

"""Prompts and teacher-forced decoding that the tests of several caches use."""

import torch
from transformers import DynamicCache

from galley.caches.prefill import prefill

GREEDY = {"max_new_tokens": 8, "min_new_tokens": 8, "do_sample": False, "pad_token_id": 0}


def prompt_ids(model, tokens, *, batch=1, seed=0):
    return torch.randint(1, model.config.vocab_size, (batch, tokens), generator=torch.Generator().manual_seed(seed))


def forced(model, cache, ids, *, prompt):
    """Logits after each of ids (batch, n) from the place `prompt` on, fed one by one into a filled cache."""
    with torch.no_grad():
        rows = [model(ids[:, t : t + 1], past_key_values=cache, use_cache=True).logits[:, -1] for t in range(prompt, ids.shape[1])]
    return torch.stack(rows, dim=1)


def filled(model, cache, ids, *, prompt):
    return cache.fill(prefill(model, ids[:, :prompt], window=prompt))


def full_logits(model, ids, *, prompt):
    return forced(model, filled_full(model, ids[:, :prompt]), ids, prompt=prompt)


def filled_full(model, ids):
    cache = DynamicCache(config=model.config)
    with torch.no_grad():
        model(ids, past_key_values=cache, use_cache=True)
    return cache


def generated(model, cache, ids):
    """Tokens of `generate` with the cache inside `watching`, without the prompt."""
    with cache.watching(model):
        return model.generate(ids, past_key_values=cache, attention_mask=torch.ones_like(ids), **GREEDY)[:, ids.shape[1] :]


def greedy(model, cache, ids):
    """The same tokens from a cache filled by one prefill."""
    prompt = prefill(model, ids, window=ids.shape[1])
    cache.fill(prompt)
    token, tokens = prompt.logits.argmax(-1, keepdim=True), []
    with torch.no_grad():
        for _ in range(GREEDY["max_new_tokens"]):
            tokens.append(token)
            logits = model(token, past_key_values=cache, use_cache=True).logits[:, -1]
            logits[:, model.config.eos_token_id] = float("-inf")  # as min_new_tokens does
            token = logits.argmax(-1, keepdim=True)
    return torch.cat(tokens, dim=1)

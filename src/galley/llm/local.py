"""A local Hugging Face model as a backend: left-padded batches, stop strings, a seed of its own for every sample.

Source: ours, on `transformers` generate. A sample is the argmax of logits / T plus Gumbel noise from the sample's own generator
(Maddison et al., arXiv:1411.0030), which is an exact draw from the softmax: so a sample does not depend on what shares its batch,
up to the arithmetic of the batch. Greedy text may differ between batch sizes and dtypes where two logits nearly tie.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList
from transformers.generation.logits_process import TopPLogitsWarper

from galley.artifact import GalleyError, sha256_tree
from galley.llm.backend import Completion, Item, Prompt, Sampling, checked, cut, items_of
from galley.llm.cache import ResponseCache, draw_all, grouped
from galley.models.loading import load_model, load_tokenizer


class HFBackend:
    """A causal LM with its tokenizer; `identity` names its weights in the cache."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        name: str = "local",
        identity: str = "",
        batch_size: int = 8,
        cache: ResponseCache | None = None,
    ) -> None:
        if cache and not identity:
            raise GalleyError(f"the model {name!r} has no identity; a cache needs one, such as the digest of its weights")
        self.model, self.tokenizer, self.name, self.identity = model, tokenizer, name, identity or name
        self.batch_size, self.cache = batch_size, cache
        end = model.generation_config.eos_token_id
        self.ends = set(end if isinstance(end, list) else [end]) | {tokenizer.eos_token_id} - {None}
        self.ends.discard(None)

    @classmethod
    def load(
        cls, path: Path, *, dtype: torch.dtype = torch.float32, device: str = "cpu", batch_size: int = 8, cache: Path | None = None
    ) -> HFBackend:
        """Load a Hugging Face directory; with a cache folder, samples are kept under the digest of the directory."""
        model, tokenizer = load_model(path, dtype=dtype, device=device), load_tokenizer(path)
        identity = f"{sha256_tree(path)} {dtype}" if cache else ""
        return cls(model, tokenizer, name=f"hf:{Path(path).name}", identity=identity, batch_size=batch_size,
                   cache=ResponseCache(cache) if cache else None)  # fmt: skip

    def generate(
        self, prompts: Sequence[Prompt], *, n: int = 1, temperature: float = 0.0, top_p: float = 1.0,
        max_tokens: int = 512, stop: Sequence[str] = (), seed: int = 0,
    ) -> list[list[Completion]]:  # fmt: skip
        """Return n completions of each prompt; one whose prompt leaves no room in the context is `failed`."""
        sampling = checked(n, temperature, top_p, max_tokens, stop, seed)

        def draw(todo: list[tuple[int, Item]]) -> Iterator[tuple[int, Completion]]:
            return self._draw(todo, sampling)

        done = draw_all(items_of(prompts, n), draw, identity=self.identity, sampling=sampling, cache=self.cache)
        return grouped(done, n)

    def encode(self, prompt: Prompt) -> list[int]:
        """Return a prompt's token ids: plain text with the tokenizer's own start token, messages through its chat template."""
        if isinstance(prompt, str):
            return self.tokenizer(prompt)["input_ids"]
        if not self.tokenizer.chat_template:
            raise GalleyError(f"the model {self.name} has no chat template; give plain prompts, or take an instruction-tuned model")
        turns = [dict(m) for m in prompt]
        goes_on = turns[-1]["role"] == "assistant"
        text = self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=not goes_on, continue_final_message=goes_on)
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def _draw(self, todo: list[tuple[int, Item]], sampling: Sampling) -> Iterator[tuple[int, Completion]]:
        room = self.model.config.max_position_embeddings - sampling.max_tokens
        encoded = sorted(((at, item, self.encode(item.prompt)) for at, item in todo), key=lambda entry: len(entry[2]))
        fits = [entry for entry in encoded if 0 < len(entry[2]) <= room]
        for at, _, ids in encoded:
            if not 0 < len(ids) <= room:
                reason = f"the prompt has {len(ids)} tokens; beside max_tokens {sampling.max_tokens} there is room for 1 to {room}"
                yield at, Completion("", "failed", 0, reason)
        for start in range(0, len(fits), self.batch_size):
            batch = fits[start : start + self.batch_size]
            for (at, _, _), completion in zip(batch, self._batch(batch, sampling), strict=True):
                yield at, completion

    @torch.inference_mode()
    def _batch(self, batch: Sequence[tuple[int, Item, list[int]]], sampling: Sampling) -> list[Completion]:
        width = max(len(ids) for _, _, ids in batch)
        pad = self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else min(self.ends, default=0)
        rows = torch.tensor([[pad] * (width - len(ids)) + ids for _, _, ids in batch], device=self.model.device)
        mask = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for _, _, ids in batch], device=self.model.device)
        settings = GenerationConfig(
            max_new_tokens=sampling.max_tokens, do_sample=False, pad_token_id=pad, eos_token_id=sorted(self.ends) or None
        )
        processors = LogitsProcessorList()
        if sampling.temperature > 0:
            processors.append(SampleRows([item.seed(sampling.seed) for _, item, _ in batch], sampling.temperature, sampling.top_p))
        stopping = StoppingCriteriaList([StopText(self.tokenizer, width, sampling.stop)] if sampling.stop else [])
        # A model's own defaults (a repetition penalty, say) fill what a config leaves out: they must not, so they step aside.
        own, self.model.generation_config = self.model.generation_config, settings
        try:
            out = self.model.generate(
                rows, attention_mask=mask, generation_config=settings, logits_processor=processors, stopping_criteria=stopping
            )
        finally:
            self.model.generation_config = own
        return [self._completion(ids.tolist(), pad, sampling) for ids in out[:, width:]]

    def _completion(self, ids: list[int], pad: int, sampling: Sampling) -> Completion:
        end = next((at for at, token in enumerate(ids) if token in self.ends), None)
        drawn = ids[:end] if end is not None else ids
        while drawn and drawn[-1] == pad and end is None:  # after a stop string a row is filled up
            drawn = drawn[:-1]
        text = self.tokenizer.decode(drawn, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        text, stopped = cut(text, sampling.stop)
        return Completion(text, "stop" if stopped or end is not None else "length", len(drawn) + (end is not None and not stopped))


class SampleRows(LogitsProcessor):
    """Turn greedy search into sampling, each row from a generator of its own."""

    def __init__(self, seeds: Sequence[int], temperature: float, top_p: float) -> None:
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.temperature, self.nucleus = temperature, TopPLogitsWarper(top_p) if top_p < 1 else None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return logits / T within the nucleus plus Gumbel noise, (batch, vocab)."""
        scores = scores.float() / self.temperature
        if self.nucleus:
            scores = self.nucleus(input_ids, scores)
        noise = torch.stack([torch.empty(scores.shape[1]).exponential_(generator=g) for g in self.generators])
        return scores - noise.log().to(scores.device)  # -log of an exponential is Gumbel


class StopText(StoppingCriteria):
    """Stop a row once its own text, not its prompt's, holds a stop string."""

    def __init__(self, tokenizer: Any, width: int, stop: Sequence[str]) -> None:
        self.tokenizer, self.width, self.stop = tokenizer, width, stop
        self.tail = max(len(s.encode()) for s in stop) + 8  # tokens: each is at least a byte, and a split character needs its whole

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        """Return which rows are done, (batch,)."""
        rows = input_ids[:, max(self.width, input_ids.shape[1] - self.tail) :]
        texts = self.tokenizer.batch_decode(rows, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return torch.tensor([any(s in text for s in self.stop) for text in texts], device=input_ids.device)

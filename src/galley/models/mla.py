"""The converted model: Llama with partial RoPE and a shared key-value latent.

arXiv:2502.14837, sections 2.2 and 2.3, for head h of KV head j:
  q_h = [q_rope ; q_nope],  k_rope(j) = RoPE(W_kr(j) x),  c = W_down x,  k_nope(j) = W_uk(j) c,  v(j) = W_uv(j) c
  expanded:  softmax((q_rope . k_rope + q_nope . k_nope) / sqrt(d_h)) v
  absorbed:  scores (q_rope . k_rope + (W_uk(j)^T q_nope) . c) / sqrt(d_h),  output W_uv(j) (sum p c)
Only k_rope (rotated) and c are cached. The scale stays 1/sqrt(d_h): the same d_h products are summed.
With d_kv None the model has partial RoPE only and caches ordinary keys and values.

It lives here because `import galley` registers it: any stage may load a converted model. How a model is converted is
galley.papers.mha2mla's.

Deviations: the authors' main branch caches expanded keys and values; `cache_impl: full` does so as an
audit. Biases (Qwen2): the rotated part stays on k_r_proj, the rest on the up-projections. In absorbed
form a bias of k_nope shifts all scores of a query alike, so it drops out of the softmax.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, Cache, LlamaConfig, LlamaForCausalLM
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llama.modeling_llama import eager_attention_forward, rotate_half

from galley.kernels.device import takes_kernel
from galley.kernels.mla_decode.dispatch import decode
from galley.kernels.mla_decode.step import MlaStep


class MlaLlamaConfig(LlamaConfig):
    """A Llama configuration plus the kept rotary pairs and the latent's width.

    `rope_pairs` is (layers, kv heads, r) as nested lists; `d_kv` the latent width per KV head (None: no
    low-rank part); `latent_rank` the whole width R.
    """

    model_type = "mha2mla_llama"

    rope_pairs: list | None = None
    d_kv: int | None = None
    svd: str = "joint"
    qkv_bias: bool = False
    attn_impl: str = "auto"
    cache_impl: str = "latent"

    @property
    def latent_rank(self) -> int:
        """Return R = n_kv d_kv, 0 without a low-rank part."""
        return self.num_key_value_heads * (self.d_kv or 0)


class MlaAttention(nn.Module):
    """Multi-head latent attention over one layer's kept pairs; see the module's docstring."""

    def __init__(self, config: MlaLlamaConfig, layer_idx: int) -> None:
        super().__init__()
        self.config, self.layer_idx = config, layer_idx
        self.head_dim = config.head_dim
        self.n_h, self.n_kv = config.num_attention_heads, config.num_key_value_heads
        self.num_key_value_groups = self.n_h // self.n_kv
        self.scaling = self.head_dim**-0.5
        self.attention_dropout = config.attention_dropout
        self.is_causal = True
        pairs = torch.tensor((config.rope_pairs or [])[layer_idx], dtype=torch.long, device="cpu")
        self.r = pairs.shape[-1]
        self.d_nope = self.head_dim - 2 * self.r
        # Not a buffer: it is in the config, and from_pretrained builds modules on the meta device.
        self.pairs = pairs
        d, rank, bias = config.hidden_size, config.latent_rank, config.qkv_bias
        self.q_proj = nn.Linear(d, self.n_h * self.head_dim, bias=bias)
        self.k_r_proj = nn.Linear(d, self.n_kv * 2 * self.r, bias=bias)
        if rank:
            half = rank if config.svd == "joint" else rank // 2
            self.kv_down = nn.Linear(d, rank, bias=False)
            self.k_up = nn.Linear(half, self.n_kv * self.d_nope, bias=bias)
            self.v_up = nn.Linear(half, self.n_kv * self.head_dim, bias=bias)
        else:
            self.k_nope_proj = nn.Linear(d, self.n_kv * self.d_nope, bias=bias)
            self.v_proj = nn.Linear(d, self.n_kv * self.head_dim, bias=bias)
        self.o_proj = nn.Linear(self.n_h * self.head_dim, d, bias=config.attention_bias)

    def forward(
        self,
        hidden_states: torch.Tensor,
        position_embeddings: tuple[torch.Tensor, torch.Tensor],
        attention_mask: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        **kwargs,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Attend; hidden_states (batch, tokens, d), cos and sin (batch, tokens, d_h)."""
        batch, n_q, _ = hidden_states.shape
        cos, sin = self._kept(position_embeddings)
        q = self.q_proj(hidden_states).view(batch, n_q, self.n_h, self.head_dim).transpose(1, 2)
        q_rope, q_nope = q.split([2 * self.r, self.d_nope], dim=-1)
        k_rope = self.k_r_proj(hidden_states).view(batch, n_q, self.n_kv, 2 * self.r).transpose(1, 2)
        # Query heads of a group turn by their KV head's angles.
        by_group = q_rope.unflatten(1, (self.n_kv, -1))
        by_group = by_group * cos[:, :, None] + rotate_half(by_group) * sin[:, :, None]
        q_rope = by_group.flatten(1, 2)
        k_rope = k_rope * cos + rotate_half(k_rope) * sin

        if not self.config.latent_rank:
            k_nope = self.k_nope_proj(hidden_states).view(batch, n_q, self.n_kv, self.d_nope).transpose(1, 2)
            v = self.v_proj(hidden_states).view(batch, n_q, self.n_kv, self.head_dim).transpose(1, 2)
            k = torch.cat([k_rope, k_nope], dim=-1)
            if past_key_values is not None:
                k, v = past_key_values.update(k, v, self.layer_idx)
            out, weights = self._attend(torch.cat([q_rope, q_nope], dim=-1), k, v, attention_mask, kwargs)
        elif self.config.cache_impl == "full":
            k, v = self._expand(k_rope, self.kv_down(hidden_states)[:, None])
            if past_key_values is not None:
                k, v = past_key_values.update(k, v, self.layer_idx)
            out, weights = self._attend(torch.cat([q_rope, q_nope], dim=-1), k, v, attention_mask, kwargs)
        else:
            c = self.kv_down(hidden_states)[:, None]  # (batch, 1, tokens, R)
            if past_key_values is not None:
                k_rope, c = past_key_values.update(k_rope, c, self.layer_idx)
            how = self.config.attn_impl
            if how == "absorbed" or (how == "auto" and n_q == 1 and past_key_values is not None):
                out, weights = self._absorbed(q_rope, q_nope, k_rope, c, attention_mask), None
            else:
                k, v = self._expand(k_rope, c)
                out, weights = self._attend(torch.cat([q_rope, q_nope], dim=-1), k, v, attention_mask, kwargs)
        return self.o_proj(out.reshape(batch, n_q, -1)), weights

    def _kept(self, position_embeddings: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Gather cos and sin at each KV head's kept pairs: (batch, kv heads, tokens, 2r)."""
        if self.pairs.device != position_embeddings[0].device:
            self.pairs = self.pairs.to(position_embeddings[0].device)
        cos, sin = (torch.cat([p := x[..., self.pairs], p], dim=-1).transpose(1, 2) for x in position_embeddings)
        return cos, sin

    def _expand(self, k_rope: torch.Tensor, c: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Rebuild keys (rotated rows first) and values of all KV heads from the latent (batch, 1, tokens, R)."""
        c_k, c_v = self._parts(c)
        k_nope = self.k_up(c_k[:, 0]).unflatten(-1, (self.n_kv, self.d_nope)).transpose(1, 2)
        v = self.v_up(c_v[:, 0]).unflatten(-1, (self.n_kv, self.head_dim)).transpose(1, 2)
        return torch.cat([k_rope, k_nope], dim=-1), v

    def _parts(self, c: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the latent that keys and the latent that values read: the same, or halves for split."""
        if self.config.svd == "joint":
            return c, c
        first, second = c.chunk(2, dim=-1)
        return first, second

    def _attend(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None, kwargs: dict
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        attend: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        dropout = self.attention_dropout if self.training else 0.0
        return attend(self, q, k, v, mask, dropout=dropout, scaling=self.scaling, **kwargs)

    def _absorbed(
        self,
        q_rope: torch.Tensor,
        q_nope: torch.Tensor,
        k_rope: torch.Tensor,
        c: torch.Tensor,
        mask: torch.Tensor | None,
    ) -> torch.Tensor:
        """Attend in the latent: all heads share c, so scores and outputs are one matrix product each."""
        batch, n_h, n_q, _ = q_rope.shape
        n_kv, g = self.n_kv, self.num_key_value_groups
        c_k, c_v = self._parts(c)
        w_uk = self.k_up.weight.view(n_kv, self.d_nope, -1)
        w_uv = self.v_up.weight.view(n_kv, self.head_dim, -1)
        q_nope = q_nope.unflatten(1, (n_kv, g)).flatten(2, 3)  # (batch, kv heads, group x queries, d_nope)
        c_q = (q_nope @ w_uk).reshape(batch, n_h * n_q, -1)
        if n_q == 1 and mask is None and takes_kernel(c):  # a decode step on a GPU; on a CPU the lines below are the faster way
            value_at = c.shape[-1] - c_v.shape[-1]
            step = MlaStep(q_rope[:, :, 0], c_q, k_rope, c[:, 0], self.scaling, value_at=value_at)
            return self._values(decode(step)[:, :, None], w_uv)
        c_q = c_q * self.scaling
        q_rope = q_rope.unflatten(1, (n_kv, g)).flatten(2, 3) * self.scaling
        by_rope = q_rope @ k_rope.transpose(-1, -2)  # (batch, kv heads, group x queries, keys)
        scores = torch.baddbmm(by_rope.reshape(batch, n_h * n_q, -1), c_q, c_k[:, 0].transpose(-1, -2))
        scores = scores.view(batch, n_h, n_q, -1)
        if mask is not None:
            mask = mask[..., : scores.shape[-1]]
            scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min) if mask.dtype == torch.bool else scores + mask
        elif n_q > 1:
            n_k = scores.shape[-1]
            seen = torch.ones(n_q, n_k, dtype=torch.bool, device=scores.device).tril(n_k - n_q)
            scores = scores.masked_fill(~seen, torch.finfo(scores.dtype).min)
        half = scores.dtype in (torch.bfloat16, torch.float16)
        p = scores.softmax(dim=-1, dtype=torch.float32 if half else None).to(c.dtype)
        o_latent = p.view(batch, n_h * n_q, -1) @ c_v[:, 0]
        return self._values(o_latent.view(batch, n_h, n_q, -1), w_uv)

    def _values(self, o_latent: torch.Tensor, w_uv: torch.Tensor) -> torch.Tensor:
        """Turn outputs in the latent (batch, query heads, queries, R) into values (batch, queries, query heads, d_h)."""
        batch, n_h, n_q, _ = o_latent.shape
        n_kv, g = self.n_kv, self.num_key_value_groups
        out = o_latent.reshape(batch, n_kv, g * n_q, -1) @ w_uv.transpose(-1, -2)
        out = out.view(batch, n_h, n_q, self.head_dim)
        if self.v_up.bias is not None:
            bias = self.v_up.bias.view(1, n_kv, 1, 1, self.head_dim)
            out = (out.unflatten(1, (n_kv, g)) + bias).flatten(1, 2)
        return out.transpose(1, 2)


class MlaLlamaForCausalLM(LlamaForCausalLM):
    """Llama whose attention layers are MlaAttention; loads with AutoModelForCausalLM after `import galley`."""

    config_class = MlaLlamaConfig
    _tp_plan = None

    def __init__(self, config: MlaLlamaConfig) -> None:
        super().__init__(config)
        for i, layer in enumerate(self.model.layers):
            layer.self_attn = MlaAttention(config, i)
        self.post_init()


# Teach transformers' auto classes the converted architecture.
AutoConfig.register("mha2mla_llama", MlaLlamaConfig, exist_ok=True)
AutoModelForCausalLM.register(MlaLlamaConfig, MlaLlamaForCausalLM, exist_ok=True)

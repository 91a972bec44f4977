"""LlamaForCausalLM in plain PyTorch: RMSNorm, rotary positions (rotate_half), grouped-query attention, SwiGLU.

Query, key and value share one projection, and so do gate and up: fewer, larger products are faster both here and
in the exported graph. Embedding and output projection are tied.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Config:
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    max_position_embeddings: int = 512
    rope_theta: float = 10_000.0
    rms_norm_eps: float = 1e-5

    @property
    def query_size(self) -> int:
        return self.num_attention_heads * self.head_dim

    @property
    def key_value_size(self) -> int:
        return self.num_key_value_heads * self.head_dim


def rotary_tables(config: Config, length: int) -> tuple[Tensor, Tensor]:
    """Cosine and sine for each position, [length, head_dim / 2]: rotate_half uses both halves alike."""
    frequencies = config.rope_theta ** (-torch.arange(0, config.head_dim, 2).double() / config.head_dim)
    angles = torch.outer(torch.arange(length).double(), frequencies)
    return angles.cos().float(), angles.sin().float()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


class RMSNorm(nn.Module):
    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * self.weight


class Attention(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.qkv_proj = nn.Linear(config.hidden_size, config.query_size + 2 * config.key_value_size, bias=False)
        self.o_proj = nn.Linear(config.query_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor) -> Tensor:
        batch, length, _ = x.shape
        config = self.config
        q, k, v = self.qkv_proj(x).split((config.query_size, config.key_value_size, config.key_value_size), dim=-1)
        q, k, v = (part.view(batch, length, -1, config.head_dim).transpose(1, 2) for part in (q, k, v))
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        group = config.num_attention_heads // config.num_key_value_heads
        k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)
        scores = q @ k.transpose(-2, -1) * (1 / math.sqrt(config.head_dim)) + mask
        mixed = scores.softmax(-1) @ v
        return self.o_proj(mixed.transpose(1, 2).reshape(batch, length, config.query_size))


class Layer(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.attention = Attention(config)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.gate_up_proj = nn.Linear(config.hidden_size, 2 * config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor) -> Tensor:
        x = x + self.attention(self.input_layernorm(x), cos, sin, mask)
        gate, up = self.gate_up_proj(self.post_attention_layernorm(x)).chunk(2, dim=-1)
        return x + self.down_proj(F.silu(gate) * up)


class Llama(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        cos, sin = rotary_tables(config, config.max_position_embeddings)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        self._initialise()

    def forward(self, ids: Tensor, positions: Tensor, visible: Tensor) -> list[Tensor]:
        """The hidden states after each layer; `visible` [batch, query, key] says who may look where."""
        mask = torch.zeros(visible.shape).masked_fill(~visible, -math.inf).unsqueeze(1)
        cos, sin = self.cos[positions].unsqueeze(1), self.sin[positions].unsqueeze(1)
        states = [self.embed_tokens(ids)]
        for layer in self.layers:
            states.append(layer(states[-1], cos, sin, mask))
        return states[1:]

    def logits(self, state: Tensor) -> Tensor:
        """Of hidden states after the last layer."""
        return F.linear(self.norm(state), self.embed_tokens.weight)

    @torch.no_grad()
    def next_logits(self, ids: list[int]) -> Tensor:
        length = len(ids)
        visible = torch.ones(1, length, length, dtype=torch.bool).tril()
        return self.logits(self(torch.tensor([ids]), torch.arange(length)[None], visible)[-1][0, -1])

    def greedy(self, prompt: list[int], stop: int, limit: int) -> list[int]:
        """Up to `limit` new tokens, the stop token included, each computed afresh from the whole sequence."""
        new: list[int] = []
        while len(new) < limit and stop not in new:
            new.append(int(self.next_logits(prompt + new).argmax()))
        return new

    def _initialise(self) -> None:
        std = self.config.hidden_size**-0.5
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                into_residual = name.endswith(("o_proj.weight", "down_proj.weight"))
                nn.init.normal_(parameter, std=std / math.sqrt(2 * len(self.layers)) if into_residual else std)

"""Writes a model in Hugging Face's ONNX layout, and reads it back.

The graph has the inputs and outputs of an Optimum export with past, but is built by hand: masks and rotary factors
are computed once rather than per layer, queries and keys are rotated together, key heads are shared without being
copied, and the scale of attention is folded into the query weights.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, mapping, numpy_helper
from torch import Tensor

from model import Config, Layer, Llama, rotary_tables
from tokenizer import END_OF_TEXT, IM_END, IM_START, Tokenizer

OPSET = 17


def export_model(
    model: Llama, tokenizer: Tokenizer, folder: Path, *, half: bool = False, positions: bool = True
) -> None:
    """`half` stores and computes in float16; without `positions` the graph counts positions itself."""
    (folder / "onnx").mkdir(parents=True, exist_ok=True)
    tokenizer.save(folder)
    _write_json(folder / "config.json", _config(model.config, tokenizer, half))
    _write_json(folder / "generation_config.json", _generation_config(tokenizer))
    builder = _Builder(np.float16 if half else np.float32)
    _llama(builder, model, positions)
    onnx.save(builder.finish(), folder / "onnx" / "model.onnx")


def import_model(folder: Path) -> Llama:
    """The model that `export_model` wrote, to within the rounding of its query weights."""
    described = json.loads((folder / "config.json").read_text())
    model = Llama(Config(**{field.name: described[field.name] for field in fields(Config)}))
    stored = {
        tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).astype(np.float32))
        for tensor in onnx.load(folder / "onnx" / "model.onnx").graph.initializer
    }
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            projection = name.removesuffix(".weight")
            parameter.copy_(stored[projection].T if projection in stored else stored[name])
        for layer in model.layers:
            layer.attention.qkv_proj.weight[: model.config.query_size] *= math.sqrt(model.config.head_dim)
    return model


class _Builder:
    """A graph under construction. Operators are appended in order and are known by the names of their outputs."""

    def __init__(self, dtype: type[np.floating]) -> None:
        self.dtype = np.dtype(dtype)
        self.float = mapping.NP_TYPE_TO_TENSOR_TYPE[self.dtype]
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: dict[str, onnx.TensorProto] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    def input(self, name: str, tensor_type: int, shape: Sequence[int | str]) -> str:
        self._inputs.append(helper.make_tensor_value_info(name, tensor_type, shape))
        return name

    def output(self, name: str, shape: Sequence[int | str]) -> None:
        self._outputs.append(helper.make_tensor_value_info(name, self.float, shape))

    def weight(self, name: str, value: Tensor) -> str:
        self._initializers[name] = numpy_helper.from_array(value.detach().numpy().astype(self.dtype), name)
        return name

    def projection(self, name: str, weight: Tensor) -> str:
        """Stored as MatMul wants it: inputs by outputs."""
        return self.weight(name, weight.T)

    def floating(self, value: float) -> str:
        return self._constant(np.array(value, self.dtype))

    def integers(self, *values: int) -> str:
        return self._constant(np.array(values, np.int64))

    def integer(self, value: int) -> str:
        return self._constant(np.array(value, np.int64))

    def op(self, kind: str, *inputs: str, name: str | None = None, **attributes: int) -> str:
        return self._append(kind, inputs, [name or f"{kind.lower()}_{len(self._nodes)}"], attributes)[0]

    def split(self, value: str, *sizes: int, axis: int) -> list[str]:
        names = [f"split_{len(self._nodes)}_{i}" for i in range(len(sizes))]
        return self._append("Split", (value, self.integers(*sizes)), names, {"axis": axis})

    def transpose(self, value: str, *order: int) -> str:
        return self._append("Transpose", (value,), [f"transpose_{len(self._nodes)}"], {"perm": order})[0]

    def finish(self) -> onnx.ModelProto:
        graph = helper.make_graph(
            self._nodes, "llama", self._inputs, self._outputs, list(self._initializers.values())
        )
        opset = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=8, producer_name="fact-verification")
        onnx.checker.check_model(model, full_check=True)
        return model

    def _append(self, kind: str, inputs: Sequence[str], names: list[str], attributes: dict) -> list[str]:
        self._nodes.append(helper.make_node(kind, inputs, names, name=names[0], **attributes))
        return names

    def _constant(self, value: np.ndarray) -> str:
        name = "_".join(["const", value.dtype.name, f"{value.ndim}d", *map(str, value.ravel())])
        self._initializers[name] = numpy_helper.from_array(value, name)
        return name


def _llama(b: _Builder, model: Llama, positions: bool) -> None:
    config = model.config
    ids = b.input("input_ids", TensorProto.INT64, ["batch_size", "sequence_length"])
    mask = b.input("attention_mask", TensorProto.INT64, ["batch_size", "total_sequence_length"])
    past_length = b.op("Sub", _size(b, mask, 1), _size(b, ids, 1))
    total_length = _size(b, mask, 1)
    new_positions = b.op("Range", past_length, total_length, b.integer(1))
    if positions:
        position_ids = b.input("position_ids", TensorProto.INT64, ["batch_size", "sequence_length"])
    else:
        # Rotary attention sees only distances between positions, so padding on the left need not be discounted.
        position_ids = b.op("Unsqueeze", new_positions, b.integers(0))
    cos, sin = _rotary_factors(b, config, position_ids)
    bias = _attention_bias(b, mask, new_positions, total_length)

    x = b.op("Gather", b.weight("embed_tokens.weight", model.embed_tokens.weight), ids)
    for i, layer in enumerate(model.layers):
        x = _layer(b, config, i, layer, x, cos, sin, bias)
    x = _rms_norm(b, config, x, b.weight("norm.weight", model.norm.weight))
    b.op("MatMul", x, b.transpose("embed_tokens.weight", 1, 0), name="logits")
    b.output("logits", ["batch_size", "sequence_length", config.vocab_size])


def _size(b: _Builder, value: str, axis: int) -> str:
    return b.op("Gather", b.op("Shape", value), b.integer(axis))


def _rotary_factors(b: _Builder, config: Config, position_ids: str) -> tuple[str, str]:
    """Cosines and sines [batch, 1, sequence, head_dim / 2] of the positions asked for."""
    tables = zip(("rotary.cos", "rotary.sin"), rotary_tables(config, config.max_position_embeddings))
    cos, sin = (
        b.op("Unsqueeze", b.op("Gather", b.weight(name, table), position_ids), b.integers(1)) for name, table in tables
    )
    return cos, sin


def _attention_bias(b: _Builder, mask: str, new_positions: str, total_length: str) -> str:
    """Zero where a query may look and very negative elsewhere, [batch, 1, 1, sequence, total].

    Finite, because a row of padding may look nowhere and must not become NaN.
    """
    keys = b.op("Range", b.integer(0), total_length, b.integer(1))
    causal = b.op("LessOrEqual", keys, b.op("Unsqueeze", new_positions, b.integers(1)))
    real = b.op("Cast", b.op("Unsqueeze", mask, b.integers(1, 2, 3)), to=TensorProto.BOOL)
    return b.op("Where", b.op("And", causal, real), b.floating(0.0), b.floating(-60_000.0))


def _layer(
    b: _Builder, config: Config, index: int, layer: Layer, x: str, cos: str, sin: str, bias: str
) -> str:
    name = f"layers.{index}"
    normed = _rms_norm(b, config, x, b.weight(f"{name}.input_layernorm.weight", layer.input_layernorm.weight))
    x = b.op("Add", x, _attention(b, config, index, layer, normed, cos, sin, bias))
    weight = b.weight(f"{name}.post_attention_layernorm.weight", layer.post_attention_layernorm.weight)
    gate_up = b.op(
        "MatMul", _rms_norm(b, config, x, weight), b.projection(f"{name}.gate_up_proj", layer.gate_up_proj.weight)
    )
    gate, up = b.split(gate_up, config.intermediate_size, config.intermediate_size, axis=-1)
    hidden = b.op("Mul", b.op("Mul", gate, b.op("Sigmoid", gate)), up)
    return b.op("Add", x, b.op("MatMul", hidden, b.projection(f"{name}.down_proj", layer.down_proj.weight)))


def _attention(
    b: _Builder, config: Config, index: int, layer: Layer, x: str, cos: str, sin: str, bias: str
) -> str:
    heads, shared, size = config.num_attention_heads, config.num_key_value_heads, config.head_dim
    group = heads // shared
    projection = layer.attention.qkv_proj.weight.detach().clone()
    projection[: config.query_size] /= math.sqrt(size)
    qkv = b.op("MatMul", x, b.projection(f"layers.{index}.attention.qkv_proj", projection))
    qkv = b.transpose(b.op("Reshape", qkv, b.integers(0, 0, -1, size)), 0, 2, 1, 3)
    qk, v = b.split(qkv, heads + shared, shared, axis=1)
    q, k = b.split(_rotate(b, qk, size, cos, sin), heads, shared, axis=1)
    k = _with_past(b, config, f"{index}.key", k)
    v = _with_past(b, config, f"{index}.value", v)

    # The heads of a group become rows of one product with the key head they share.
    q = b.op("Reshape", q, b.integers(0, shared, -1, size))
    scores = b.op("MatMul", q, b.transpose(k, 0, 1, 3, 2))
    length = b.op("Unsqueeze", _size(b, x, 1), b.integers(0))
    apart = b.op("Concat", b.integers(0, shared, group), length, b.integers(-1), axis=0)
    weights = b.op("Softmax", b.op("Add", b.op("Reshape", scores, apart), bias), axis=-1)
    total = b.op("Unsqueeze", _size(b, k, 2), b.integers(0))
    together = b.op("Concat", b.integers(0, shared, -1), total, axis=0)
    mixed = b.op("MatMul", b.op("Reshape", weights, together), v)
    mixed = b.op("Reshape", mixed, b.op("Concat", b.integers(0, heads), length, b.integers(size), axis=0))
    mixed = b.op("Reshape", b.transpose(mixed, 0, 2, 1, 3), b.integers(0, 0, heads * size))
    return b.op("MatMul", mixed, b.projection(f"layers.{index}.attention.o_proj", layer.attention.o_proj.weight))


def _rotate(b: _Builder, x: str, size: int, cos: str, sin: str) -> str:
    first, second = b.split(x, size // 2, size // 2, axis=-1)
    left = b.op("Sub", b.op("Mul", first, cos), b.op("Mul", second, sin))
    right = b.op("Add", b.op("Mul", second, cos), b.op("Mul", first, sin))
    return b.op("Concat", left, right, axis=-1)


def _with_past(b: _Builder, config: Config, name: str, new: str) -> str:
    def shape(length: str) -> list[int | str]:
        return ["batch_size", config.num_key_value_heads, length, config.head_dim]

    past = b.input(f"past_key_values.{name}", b.float, shape("past_sequence_length"))
    b.output(f"present.{name}", shape("total_sequence_length"))
    return b.op("Concat", past, new, name=f"present.{name}", axis=2)


def _rms_norm(b: _Builder, config: Config, x: str, weight: str) -> str:
    """In the form that ONNX Runtime recognises and replaces by one operator."""
    variance = b.op("ReduceMean", b.op("Pow", x, b.floating(2.0)), axes=[-1], keepdims=1)
    deviation = b.op("Sqrt", b.op("Add", variance, b.floating(config.rms_norm_eps)))
    return b.op("Mul", weight, b.op("Div", x, deviation))


def _config(config: Config, tokenizer: Tokenizer, half: bool) -> dict[str, object]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": tokenizer.ids[IM_START],
        "eos_token_id": tokenizer.ids[IM_END],
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "hidden_size": config.hidden_size,
        "initializer_range": 0.02,
        "intermediate_size": config.intermediate_size,
        "max_position_embeddings": config.max_position_embeddings,
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": config.num_attention_heads,
        "num_hidden_layers": config.num_hidden_layers,
        "num_key_value_heads": config.num_key_value_heads,
        "pad_token_id": tokenizer.ids[END_OF_TEXT],
        "rms_norm_eps": config.rms_norm_eps,
        "rope_scaling": None,
        "rope_theta": config.rope_theta,
        "tie_word_embeddings": True,
        "torch_dtype": "float16" if half else "float32",
        "use_cache": True,
        "vocab_size": config.vocab_size,
    }


def _generation_config(tokenizer: Tokenizer) -> dict[str, object]:
    return {
        "bos_token_id": tokenizer.ids[IM_START],
        "eos_token_id": tokenizer.ids[IM_END],
        "pad_token_id": tokenizer.ids[END_OF_TEXT],
        "do_sample": False,
    }


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n")

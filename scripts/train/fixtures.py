"""Records what the engine must reproduce: answers of the trained model, and of three tiny models of other shapes.

    python3 scripts/train/fixtures.py --weights model.pt --model templates/fact-verification/model --out test/fixtures

`--weights` is the state that train.py leaves beside its output; the reference is PyTorch, one prompt at a time,
without a cache. The tiny models have random weights. Their prompts are chosen so that at each step the likeliest
token is clearly ahead: rounding does not decide.
"""

from __future__ import annotations

import argparse
import json
import random
from dataclasses import dataclass
from pathlib import Path

import torch

from data import generate, prompt
from export import export_model
from model import Config, Llama
from tokenizer import IM_END, Tokenizer
from train import CONFIG

PROMPTS = 260
ANSWER_LIMIT = 6
TINY_PROMPTS = 8
TINY_LIMIT = 12
CLEARLY_AHEAD = 0.05


@dataclass(frozen=True)
class Tiny:
    name: str
    config: Config
    half: bool = False
    positions: bool = True


def tiny_models(vocab_size: int) -> list[Tiny]:
    return [
        Tiny("multi-head", Config(vocab_size, 32, 48, 2, 4, 4, 8), positions=False),
        Tiny("grouped-query", Config(vocab_size, 40, 64, 3, 6, 2, 16)),
        Tiny("half-precision", Config(vocab_size, 32, 48, 2, 4, 2, 8), half=True),
    ]


def load_tokenizer(folder: Path) -> Tokenizer:
    merges = json.loads((folder / "tokenizer.json").read_text())["model"]["merges"]
    return Tokenizer([tuple(m.split(" ")) if isinstance(m, str) else tuple(m) for m in merges])


def record_answers(weights: Path, folder: Path, out: Path, node: str) -> None:
    tokenizer = load_tokenizer(folder)
    model = Llama(CONFIG)
    model.load_state_dict(torch.load(weights), strict=False)
    lines = []
    for example in generate("held-out", PROMPTS, 5, node):
        text = prompt(example)
        ids = tokenizer.encode(text)
        new = model.greedy(ids, tokenizer.ids[IM_END], ANSWER_LIMIT)
        said = tokenizer.decode(token for token in new if token != tokenizer.ids[IM_END])
        lines.append({"prompt": text, "promptTokens": ids, "tokens": new, "text": said, "label": example["label"]})
    write_lines(out / "fact-verification" / "greedy.jsonl", lines)


def record_tiny(tiny: Tiny, tokenizer: Tokenizer, out: Path) -> None:
    torch.manual_seed(len(tiny.name))
    model = Llama(tiny.config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2:
                # Larger than for training, so that the layers have a say beside the embedding.
                parameter.mul_(1 if name.startswith("embed") else 3)
            if tiny.half:
                parameter.copy_(parameter.half().float())
    folder = out / "models" / tiny.name
    export_model(model, tokenizer, folder, half=tiny.half, positions=tiny.positions)
    rng = random.Random(1)
    lines = []
    while len(lines) < TINY_PROMPTS:
        ids = [rng.randrange(256) for _ in range(rng.randint(1, 24))]
        new = clear_continuation(model, ids, tokenizer.ids[IM_END])
        if new is not None:
            lines.append({"promptTokens": ids, "tokens": new})
    write_lines(folder / "expected.jsonl", lines)


def clear_continuation(model: Llama, ids: list[int], stop: int) -> list[int] | None:
    new: list[int] = []
    while len(new) < TINY_LIMIT and stop not in new:
        best, second = model.next_logits(ids + new).topk(2).values.tolist()
        if best - second < CLEARLY_AHEAD:
            return None
        new.append(int(model.next_logits(ids + new).argmax()))
    return new


def write_lines(path: Path, lines: list[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--node", default="node")
    options = parser.parse_args()
    record_answers(options.weights, options.model, options.out, options.node)
    bytes_only = Tokenizer([])
    for tiny in tiny_models(bytes_only.vocab_size):
        record_tiny(tiny, bytes_only, options.out)


if __name__ == "__main__":
    main()

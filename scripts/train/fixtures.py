"""Records what the engine must reproduce: answers of the trained model, and of three tiny models of other shapes.

    python3 scripts/train/fixtures.py --model templates/fact-verification/model --out test/fixtures

The reference is PyTorch with the exported weights, one prompt at a time, without a cache. The tiny models have random
weights. Their prompts are chosen so that at each step the likeliest token is clearly ahead, as rounding must not
decide, and so that answers vary.
"""

from __future__ import annotations

import argparse
import json
import random
from dataclasses import dataclass
from pathlib import Path

import torch

from data import generate, prompt
from export import export_model, import_model
from model import Config, Llama
from tokenizer import IM_END, Tokenizer, load_tokenizer

PROMPTS = 260
ANSWER_LIMIT = 6
TINY_PROMPTS = 8
TINY_LIMIT = 12
CLEARLY_AHEAD = 0.1


@dataclass(frozen=True)
class Tiny:
    name: str
    config: Config
    half: bool = False
    positions: bool = True


def tiny_models(vocab_size: int) -> list[Tiny]:
    return [
        Tiny("multi-head", Config(vocab_size, 32, 48, 2, 4, 4, 8), positions=False),
        Tiny("grouped-query", Config(vocab_size, 24, 32, 3, 6, 2, 8)),
        Tiny("half-precision", Config(vocab_size, 32, 48, 2, 4, 2, 8), half=True),
    ]


def record_answers(folder: Path, out: Path, node: str) -> None:
    tokenizer, model = load_tokenizer(folder), import_model(folder)
    lines = []
    for example in generate("held-out", PROMPTS, 5, node):
        text = prompt(example)
        ids = tokenizer.encode(text)
        new = model.greedy(ids, tokenizer.ids[IM_END], ANSWER_LIMIT)
        said = tokenizer.decode(new)
        lines.append({"prompt": text, "promptTokens": ids, "tokens": new, "text": said, "label": example["label"]})
    write_lines(out / "fact-verification" / "greedy.jsonl", lines)


def record_tiny(tiny: Tiny, tokenizer: Tokenizer, out: Path) -> None:
    torch.manual_seed(1)
    model = Llama(tiny.config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("_proj.weight"):
                # As initialised, the embedding outweighs the layers and the answer is one token again and again.
                parameter *= 3
    folder = out / "models" / tiny.name
    export_model(model, tokenizer, folder, half=tiny.half, positions=tiny.positions)
    model = import_model(folder)
    rng = random.Random(1)
    lines = []
    while len(lines) < TINY_PROMPTS:
        ids = [rng.randrange(256) for _ in range(rng.randint(1, 24))]
        new = clear_continuation(model, ids, tokenizer.ids[IM_END])
        if new is not None and len(set(new)) > TINY_LIMIT // 2:
            lines.append({"promptTokens": ids, "tokens": new})
    write_lines(folder / "expected.jsonl", lines)


def clear_continuation(model: Llama, prompt_ids: list[int], stop: int) -> list[int] | None:
    """The greedy continuation, if no step of it is a close call or the end."""
    new: list[int] = []
    while len(new) < TINY_LIMIT:
        likeliest = model.next_logits(prompt_ids + new).topk(2)
        if likeliest.values[0] - likeliest.values[1] < CLEARLY_AHEAD or likeliest.indices[0] == stop:
            return None
        new.append(int(likeliest.indices[0]))
    return new


def write_lines(path: Path, lines: list[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="folder of the trained model")
    parser.add_argument("--out", type=Path, required=True, help="folder for the fixtures")
    parser.add_argument("--node", default="node", help="the Node.js that runs scripts/generate-claims.ts")
    options = parser.parse_args()
    record_answers(options.model, options.out, options.node)
    bytes_only = Tokenizer([])
    for tiny in tiny_models(bytes_only.vocab_size):
        record_tiny(tiny, bytes_only, options.out)


if __name__ == "__main__":
    main()

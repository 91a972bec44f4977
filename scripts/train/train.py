"""Trains the fact verification model from nothing and writes it in Hugging Face's ONNX layout.

    python3 scripts/train/train.py --out templates/fact-verification/model

Needs PyTorch, onnx and NumPy (Debian: python3-torch python3-onnx) and, as `node`, a Node.js that runs TypeScript.
The loss is the answer's, plus that of an auxiliary task which makes the model learn early to compare names it has
never met: a probe on a middle layer says, for each token of the claim, whether the one, two and three tokens ending
there occurred before. The probe is dropped after training.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import gettempdir

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from data import Batch, Dataset, answer, generate, prompt
from export import export_model
from model import Config, Llama
from tokenizer import Tokenizer, train_merges

VOCAB_SIZE = 1280
TOKENIZER_CLAIMS = 60_000
HELD_OUT_CLAIMS = 10_000
SAMPLE_CLAIMS = 1_500
PROBED_LAYER = 1
RECALLED_TOKENS = 3

CONFIG = Config(
    vocab_size=VOCAB_SIZE,
    hidden_size=192,
    intermediate_size=512,
    num_hidden_layers=4,
    num_attention_heads=6,
    num_key_value_heads=2,
    head_dim=32,
)


@dataclass(frozen=True)
class Schedule:
    claims: int
    groups_per_batch: int = 32
    peak_rate: float = 2e-3
    warmup_steps: int = 200
    weight_decay: float = 0.05

    @property
    def steps(self) -> int:
        return -(-self.claims // 3 // self.groups_per_batch)

    def rate(self, step: int) -> float:
        return self.peak_rate * min((step + 1) / self.warmup_steps, 1 - step / self.steps)


def recalled(batch: Batch) -> Tensor:
    """[batch, length, RECALLED_TOKENS]: do the last one, two, … tokens up to here occur earlier in what is visible?"""
    same = (batch.ids[:, :, None] == batch.ids[:, None, :]) & batch.visible.tril(-1)
    run, answers = same, [same.any(-1)]
    for _ in range(RECALLED_TOKENS - 1):
        run = same & F.pad(run[:, :-1, :-1], (1, 0, 1, 0))
        answers.append(run.any(-1))
    return torch.stack(answers, dim=-1)


def loss(model: Llama, probe: nn.Linear, batch: Batch) -> tuple[Tensor, Tensor]:
    """Of the answers, summed over the tokens of each, and of the auxiliary task."""
    with torch.autocast("cpu", torch.bfloat16):
        states = model(batch.ids, batch.positions, batch.visible)
        is_next = batch.is_answer[:, 1:]
        logits = model.logits(states[-1][:, :-1][is_next])
        recall = probe(states[PROBED_LAYER][batch.is_claim])
    claims = batch.claim.amax(1).sum()
    answer_loss = F.cross_entropy(logits.float(), batch.ids[:, 1:][is_next], reduction="sum") / claims
    return answer_loss, F.binary_cross_entropy_with_logits(recall.float(), recalled(batch)[batch.is_claim].float())


@torch.no_grad()
def accuracy(model: Llama, dataset: Dataset) -> float:
    """The share of claims whose greedy answer is the label: every token of it must be the likeliest one."""
    claims = failures = 0
    for batch in dataset.batches(64, np.random.default_rng(0)):
        state = model(batch.ids, batch.positions, batch.visible)[-1]
        row, before = batch.is_answer[:, 1:].nonzero(as_tuple=True)
        wrong = model.logits(state[row, before]).argmax(-1) != batch.ids[row, before + 1]
        failed = torch.stack((row, batch.claim[row, before + 1]))[:, wrong]
        claims += int(batch.claim.amax(1).sum())
        failures += failed.unique(dim=1).shape[1]
    return 1 - failures / claims


class Trainer:
    """What changes from step to step, and can be kept and restored."""

    def __init__(self, model: Llama, schedule: Schedule) -> None:
        self.model = model
        self.probe = nn.Linear(model.config.hidden_size, RECALLED_TOKENS)
        self.parameters = [*model.parameters(), *self.probe.parameters()]
        self.optimizer = torch.optim.AdamW(self.parameters, betas=(0.9, 0.98), weight_decay=schedule.weight_decay)
        self.schedule = schedule
        self.step = 0

    def learn(self, batch: Batch) -> tuple[Tensor, Tensor]:
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.rate(self.step)
        answer_loss, recall_loss = loss(self.model, self.probe, batch)
        self.optimizer.zero_grad()
        (answer_loss + recall_loss).backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.step += 1
        return answer_loss.detach(), recall_loss.detach()

    def save(self, path: Path) -> None:
        states = {name: getattr(self, name).state_dict() for name in ("model", "probe", "optimizer")}
        torch.save({**states, "step": self.step}, path)

    def restore(self, path: Path) -> None:
        saved = torch.load(path)
        for name in ("model", "probe", "optimizer"):
            getattr(self, name).load_state_dict(saved[name])
        self.step = saved["step"]


def train(trainer: Trainer, dataset: Dataset, held_out: Dataset, checkpoint: Path) -> None:
    schedule = trainer.schedule
    started = time.monotonic()
    batches = dataset.batches(schedule.groups_per_batch, np.random.default_rng(1))
    for batch in islice(batches, trainer.step, None):
        answer_loss, recall_loss = trainer.learn(batch)
        if trainer.step % 250 == 0:
            trainer.save(checkpoint)
            print(
                f"step {trainer.step}/{schedule.steps}: answer {answer_loss:.3f}, recall {recall_loss:.3f}, "
                f"held-out accuracy {accuracy(trainer.model, held_out):.4f}, {time.monotonic() - started:.0f} s",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the finished model")
    parser.add_argument("--claims", type=int, default=360_000, help="training claims, each seen once")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--node", default="node", help="the Node.js that runs scripts/generate-claims.ts")
    checkpoint = Path(gettempdir(), "fact-verification.pt")
    parser.add_argument("--checkpoint", type=Path, default=checkpoint, help="kept while training")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint")
    options = parser.parse_args()

    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    texts = (prompt(claim) + answer(claim) for claim in generate("train", TOKENIZER_CLAIMS, 1, options.node))
    tokenizer = Tokenizer(train_merges(texts, VOCAB_SIZE))
    model = Llama(CONFIG)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters", flush=True)
    dataset = Dataset(generate("train", options.claims, 2, options.node), tokenizer)
    sample = Dataset(generate("held-out", SAMPLE_CLAIMS, 2, options.node), tokenizer)
    trainer = Trainer(model, Schedule(options.claims))
    if options.resume:
        trainer.restore(options.checkpoint)
    train(trainer, dataset, sample, options.checkpoint)
    export_model(model, tokenizer, options.out)
    held_out = Dataset(generate("held-out", HELD_OUT_CLAIMS, 1, options.node), tokenizer)
    print(f"accuracy on {HELD_OUT_CLAIMS:,} held-out claims: {accuracy(model, held_out):.4f}")


if __name__ == "__main__":
    main()

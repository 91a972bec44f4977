"""Claims as token sequences: runs scripts/generate-claims.ts, words the prompts and makes batches for training.

The claims about one piece of evidence are trained on as one sequence, which reads the evidence once. Each claim sees
the evidence and itself but not its peers, and its positions go on from the evidence, so that every prediction is
the one that a prompt of its own would give.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tokenizer import END_OF_TEXT, IM_END, Tokenizer

CLAIMS_SCRIPT = Path(__file__).parent.parent / "generate-claims.ts"

# What the chat template makes of the message in templates/fact-verification/context.yaml.
_EVIDENCE = "<|im_start|>user\nEvidence: {evidence}"
_CLAIM = "\nClaim: {claim}<|im_end|>\n<|im_start|>assistant\n"

# Kinds of token; padding is none of them.
_IS_EVIDENCE, _IS_CLAIM, _IS_ANSWER = 1, 2, 3

Example = dict[str, str]


def generate(split: str, count: int, seed: int, node: str) -> Iterator[Example]:
    command = [node, str(CLAIMS_SCRIPT), "--split", split, "--count", str(count), "--seed", str(seed)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield from map(json.loads, process.stdout)
    if process.returncode != 0:
        raise SystemExit(f"{CLAIMS_SCRIPT.name} failed with status {process.returncode}")


def prompt(example: Example) -> str:
    return _EVIDENCE.format(**example) + _CLAIM.format(**example)


def answer(example: Example) -> str:
    return example["label"] + IM_END


@dataclass(frozen=True)
class Batch:
    """Tensors [batch, length], padded on the right, but for `visible` [batch, query, key]."""

    ids: Tensor
    positions: Tensor
    visible: Tensor
    claim: Tensor  # which claim about its evidence a token belongs to, counted from one; zero for evidence
    is_claim: Tensor
    is_answer: Tensor


class Dataset:
    """Sequences kept end to end in flat arrays: hundreds of thousands of them fit in a few dozen megabytes."""

    def __init__(self, examples: Iterable[Example], tokenizer: Tokenizer) -> None:
        rows = [_sequence(list(about), tokenizer) for _, about in groupby(examples, itemgetter("evidence"))]
        self._lengths = np.array([row.shape[1] for row in rows])
        self._starts = np.concatenate(([0], self._lengths.cumsum()))
        self._columns = np.concatenate(rows, axis=1)
        self._padding = np.array([tokenizer.ids[END_OF_TEXT], 0, 0, 0], dtype=np.uint16)[:, None, None]

    def __len__(self) -> int:
        return len(self._lengths)

    def batches(self, size: int, rng: np.random.Generator) -> Iterator[Batch]:
        """One shuffled pass; sequences are sorted by length within pools of 64 batches, to save padding."""
        order = rng.permutation(len(self))
        for pool in np.split(order, range(size * 64, len(order), size * 64)):
            pool = pool[np.argsort(self._lengths[pool], kind="stable")]
            chunks = [pool[i : i + size] for i in range(0, len(pool), size)]
            for i in rng.permutation(len(chunks)):
                yield self._batch(chunks[i])

    def _batch(self, chosen: np.ndarray) -> Batch:
        index = np.arange(self._lengths[chosen].max())[None]
        source = np.minimum(self._starts[chosen, None] + index, self._columns.shape[1] - 1)
        columns = np.where(index < self._lengths[chosen, None], self._columns[:, source], self._padding)
        ids, positions, claim, kind = torch.from_numpy(columns.astype(np.int64))
        same = (claim[:, :, None] == claim[:, None, :]) | (claim[:, None, :] == 0)
        return Batch(ids, positions, same.tril(), claim, kind == _IS_CLAIM, kind == _IS_ANSWER)


def _sequence(about: list[Example], tokenizer: Tokenizer) -> np.ndarray:
    """Rows of token ids, positions, claim numbers and kinds."""
    evidence = tokenizer.encode(_EVIDENCE.format(**about[0]))
    parts = [_columns(evidence, 0, 0, _IS_EVIDENCE)]
    for number, example in enumerate(about, start=1):
        claim, label = tokenizer.encode(_CLAIM.format(**example)), tokenizer.encode(answer(example))
        parts.append(_columns(claim, len(evidence), number, _IS_CLAIM))
        parts.append(_columns(label, len(evidence) + len(claim), number, _IS_ANSWER))
    return np.concatenate(parts, axis=1)


def _columns(ids: list[int], first: int, claim: int, kind: int) -> np.ndarray:
    count = len(ids)
    columns = [ids, range(first, first + count), [claim] * count, [kind] * count]
    return np.array(columns, dtype=np.uint16)

"""Byte-level BPE: a small trainer and encoder, and the Hugging Face files that describe the result.

The trainer counts pre-tokens once and then merges the most frequent pair again and again, updating only the
pre-tokens that contain it. Ties go to the pair that sorts first, so that training is reproducible.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

END_OF_TEXT, IM_START, IM_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
SPECIAL_TOKENS = (END_OF_TEXT, IM_START, IM_END)

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

# GPT-2's pre-tokenizer, which is what ByteLevel with use_regex means. Python's `re` has no \p{L} and \p{N}.
_PRE_TOKEN = re.compile(r"'(?:[sdmt]|ll|ve|re)| ?[^\W\d_]+| ?\d+| ?(?:[^\s\w]|_)+|\s+(?!\S)|\s+")
_SPECIAL = re.compile("(" + "|".join(map(re.escape, SPECIAL_TOKENS)) + ")")


def _byte_letters() -> list[str]:
    """GPT-2's printable stand-in for each byte."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = (byte for byte in range(256) if byte not in printable)
    letters = {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(others)}
    return [letters[byte] for byte in range(256)]


BYTE_LETTERS = _byte_letters()
_BYTE_OF_LETTER = {letter: byte for byte, letter in enumerate(BYTE_LETTERS)}


def _letters(pre_token: str) -> tuple[str, ...]:
    return tuple(BYTE_LETTERS[byte] for byte in pre_token.encode())


def _merge(symbols: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    out: list[str] = []
    i = 0
    while i < len(symbols):
        if symbols[i : i + 2] == pair:
            out.append(pair[0] + pair[1])
            i += 2
        else:
            out.append(symbols[i])
            i += 1
    return tuple(out)


def _pairs(symbols: tuple[str, ...]) -> Iterable[tuple[str, str]]:
    return zip(symbols, symbols[1:])


def train_merges(texts: Iterable[str], vocab_size: int) -> list[tuple[str, str]]:
    """The merges, most useful first, learnt from texts that may contain special tokens."""
    merge_count = vocab_size - len(SPECIAL_TOKENS) - len(BYTE_LETTERS)
    counts = Counter(
        pre_token for text in texts for piece in _SPECIAL.split(text) if piece not in SPECIAL_TOKENS
        for pre_token in _PRE_TOKEN.findall(piece)
    )
    words = [_letters(pre_token) for pre_token in counts]
    weights = list(counts.values())
    pair_counts: Counter[tuple[str, str]] = Counter()
    where: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
    for i, word in enumerate(words):
        for pair in _pairs(word):
            pair_counts[pair] += weights[i]
            where[pair].add(i)

    merges: list[tuple[str, str]] = []
    while len(merges) < merge_count:
        best = min(pair_counts, key=lambda pair: (-pair_counts[pair], pair))
        merges.append(best)
        for i in where.pop(best):
            before, after = words[i], _merge(words[i], best)
            words[i] = after
            for pair in _pairs(before):
                pair_counts[pair] -= weights[i]
            for pair in _pairs(after):
                pair_counts[pair] += weights[i]
                where[pair].add(i)
        del pair_counts[best]
    return merges


class Tokenizer:
    def __init__(self, merges: list[tuple[str, str]]) -> None:
        self.merges = merges
        self.tokens = [*SPECIAL_TOKENS, *BYTE_LETTERS, *(left + right for left, right in merges)]
        self.ids = {token: i for i, token in enumerate(self.tokens)}
        self._rank = {pair: i for i, pair in enumerate(merges)}
        self._cache: dict[str, list[int]] = {}

    @property
    def vocab_size(self) -> int:
        return len(self.tokens)

    def encode(self, text: str) -> list[int]:
        ids: list[int] = []
        for piece in _SPECIAL.split(text):
            if piece in SPECIAL_TOKENS:
                ids.append(self.ids[piece])
                continue
            for pre_token in _PRE_TOKEN.findall(piece):
                known = self._cache.get(pre_token)
                if known is None:
                    known = self._cache[pre_token] = self._encode_pre_token(pre_token)
                ids.extend(known)
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """The text without special tokens."""
        letters = "".join(self.tokens[i] for i in ids if i >= len(SPECIAL_TOKENS))
        return bytes(_BYTE_OF_LETTER[letter] for letter in letters).decode(errors="replace")

    def save(self, folder: Path) -> None:
        _write_json(folder / "tokenizer.json", self._description())
        _write_json(folder / "tokenizer_config.json", {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": None,
            "eos_token": IM_END,
            "pad_token": END_OF_TEXT,
            "unk_token": END_OF_TEXT,
            "add_prefix_space": False,
            "clean_up_tokenization_spaces": False,
            "model_max_length": 512,
            "chat_template": CHAT_TEMPLATE,
        })

    def _encode_pre_token(self, pre_token: str) -> list[int]:
        symbols = _letters(pre_token)
        while len(symbols) > 1:
            best = min(_pairs(symbols), key=lambda pair: self._rank.get(pair, len(self._rank)))
            if best not in self._rank:
                break
            symbols = _merge(symbols, best)
        return [self.ids[symbol] for symbol in symbols]

    def _description(self) -> dict[str, object]:
        special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
        return {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [{"id": i, "content": token, **special} for i, token in enumerate(SPECIAL_TOKENS)],
            "normalizer": None,
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
            "post_processor": None,
            "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": None,
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": False,
                "byte_fallback": False,
                "ignore_merges": False,
                "vocab": self.ids,
                "merges": [f"{left} {right}" for left, right in self.merges],
            },
        }


def load_tokenizer(folder: Path) -> Tokenizer:
    merges = json.loads((folder / "tokenizer.json").read_text())["model"]["merges"]
    return Tokenizer([tuple(merge.split(" ")) for merge in merges])


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n")

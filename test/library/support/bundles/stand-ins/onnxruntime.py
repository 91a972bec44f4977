"""A session that is asked like a language model with a cache, and knows a claim by its words in the evidence."""

import re

LAYERS, HEADS, WIDTH = 2, 3, 4


class SessionOptions:
    intra_op_num_threads = 0


class Input:
    def __init__(self, name, shape):
        self.name, self.shape = name, shape


def get_available_providers():
    return ["CPUExecutionProvider"]


class InferenceSession:
    def __init__(self, graph, options, providers):
        open(graph).close()
        assert options.intra_op_num_threads > 0 and providers == get_available_providers()

    def get_inputs(self):
        cache = [
            Input("past_key_values.%d.%s" % (layer, part), ["batch", HEADS, "past", WIDTH])
            for layer in range(LAYERS)
            for part in ("key", "value")
        ]
        names = ("input_ids", "attention_mask", "position_ids")
        return [Input(name, ["batch", "length"]) for name in names] + cache

    def run(self, outputs, feeds):
        assert outputs == ["logits"] and set(feeds) == {each.name for each in self.get_inputs()}
        ids, masks, positions = (feeds[name] for name in ("input_ids", "attention_mask", "position_ids"))
        for name, fed in feeds.items():
            if name.startswith("past"):
                assert (fed.shape, fed.dtype) == ((len(ids.rows), HEADS, 0, WIDTH), "float32")
            else:
                assert fed.dtype == "int64"
        for mask, row in zip(masks.rows, positions.rows):
            padding, length = mask.count(0), mask.count(1)
            assert mask == [0] * padding + [1] * length and row == [0] * padding + list(range(length))
        texts = ["".join(map(chr, filter(None, row))) for row in ids.rows]
        return [Logits([_first_token(text) for text in texts])]


def _first_token(text):
    prompt = r"<\|im_start\|>user\nEvidence: (.*)\nClaim: (.*)<\|im_end\|>\n<\|im_start\|>assistant\n"
    evidence, claim = (set(part.split()) for part in re.fullmatch(prompt, text).groups())
    answer = "SUPPORTS" if claim <= evidence else "REFUTES" if claim & evidence else "NOT ENOUGH INFO"
    return ord(answer[0])


class Logits:
    """Of the last position, all that is asked of it."""

    def __init__(self, tokens):
        self.tokens = tokens

    def __getitem__(self, place):
        assert place == (slice(None), -1)
        return self

    def argmax(self, axis):
        assert axis == 1
        return self.tokens

"""Does the evidence support the claim, refute it, or not say enough? The model's first token tells."""

import os

import numpy as np
import onnxruntime
from gleaner import bundle_folder, load_variable
from tokenizers import Tokenizer

LABELS = ["SUPPORTS", "REFUTES", "NOT ENOUGH INFO"]
PROMPT = "<|im_start|>user\nEvidence: {evidence}\nClaim: {claim}<|im_end|>\n<|im_start|>assistant\n"


def load():
    """Loads the model, once for each library."""
    folder = bundle_folder("model")
    options = onnxruntime.SessionOptions()
    # What the slot has, not what the node has.
    options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
    graph = os.path.join(folder, "onnx", "model.onnx")
    session = onnxruntime.InferenceSession(graph, options, providers=onnxruntime.get_available_providers())
    tokenizer = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.enable_padding(direction="left")
    first_tokens = {tokenizer.encode(label).ids[0]: label for label in LABELS}
    return {"session": session, "tokenizer": tokenizer, "labels": first_tokens}


def verify(inputs):
    """Verifies a batch of claims, each with its `evidence`."""
    session, labels = load_variable("session"), load_variable("labels")
    encoded = load_variable("tokenizer").encode_batch([PROMPT.format(**each) for each in inputs])
    mask = np.array([each.attention_mask for each in encoded], dtype=np.int64)
    feeds = {
        "input_ids": np.array([each.ids for each in encoded], dtype=np.int64),
        "attention_mask": mask,
        "position_ids": np.maximum(mask.cumsum(axis=1) - 1, 0),
    }
    for wanted in session.get_inputs():
        if wanted.name.startswith("past_key_values."):
            _, heads, _, width = wanted.shape
            feeds[wanted.name] = np.zeros((len(inputs), heads, 0, width), dtype=np.float32)
    (logits,) = session.run(["logits"], feeds)
    return [{"label": labels.get(int(token))} for token in logits[:, -1].argmax(axis=1)]

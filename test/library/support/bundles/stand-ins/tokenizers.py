"""A tokenizer whose tokens are characters, and whose file must be there."""


class Encoding:
    def __init__(self, text, length):
        padding = length - len(text)
        self.ids = [0] * padding + [ord(character) for character in text]
        self.attention_mask = [0] * padding + [1] * len(text)


class Tokenizer:
    @staticmethod
    def from_file(path):
        open(path).close()
        return Tokenizer()

    def no_truncation(self):
        self.whole = True

    def enable_padding(self, direction):
        assert direction == "left", "what is generated goes on at the right"

    def encode(self, text):
        return Encoding(text, len(text))

    def encode_batch(self, texts):
        assert self.whole
        return [Encoding(text, max(map(len, texts))) for text in texts]

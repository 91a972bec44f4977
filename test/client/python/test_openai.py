"""The official Python client of the OpenAI API against a real factory, which $GLEANER_STATE names, with a model `bytes`."""

import asyncio
import json
import os
import time
import unittest

import openai

MESSAGES = [{"role": "user", "content": "hello"}]
FEW = {"max_tokens": 8, "temperature": 0}


def endpoint():
    with open(os.path.join(os.environ["GLEANER_STATE"], "endpoint.json"), encoding="utf-8") as file:
        found = json.load(file)
    return {"base_url": found["url"] + "/v1", "api_key": found["token"], "max_retries": 0}


class Client(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.client = openai.OpenAI(**endpoint())

    @classmethod
    def tearDownClass(cls):
        cls.client.close()

    def test_models(self):
        """the official Python client lists models, and hears of errors as exceptions of its own"""
        self.assertIn("bytes", [model.id for model in self.client.models.list()])
        create = self.client.chat.completions.create
        with self.assertRaisesRegex(openai.NotFoundError, "models: .*bytes"):
            create(model="none", messages=MESSAGES)
        with self.assertRaises(openai.BadRequestError) as caught:
            create(model="bytes", messages=MESSAGES, temperature=9)
        self.assertEqual(caught.exception.param, "temperature")
        with self.assertRaises(openai.AuthenticationError):
            self.client.with_options(api_key="wrong").models.list()

    def test_streams(self):
        """its streams of chats, completions and responses come to what their answers in one piece are"""
        whole = self.client.chat.completions.create(model="bytes", messages=MESSAGES, **FEW)
        text = whole.choices[0].message.content
        stream = self.client.chat.completions.create(
            model="bytes", messages=MESSAGES, stream=True, stream_options={"include_usage": True}, **FEW
        )
        chunks = list(stream)
        self.assertEqual("".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices), text)
        self.assertEqual((chunks[-1].usage, whole.usage.completion_tokens), (whole.usage, 8))
        completion = self.client.completions.create(model="bytes", prompt="hello", logprobs=2, **FEW)
        pieces = list(self.client.completions.create(model="bytes", prompt="hello", stream=True, **FEW))
        self.assertEqual("".join(piece.choices[0].text for piece in pieces), completion.choices[0].text)
        self.assertEqual(len(completion.choices[0].logprobs.tokens), 8)
        asked = {"model": "bytes", "input": "hello", "max_output_tokens": 16, "temperature": 0}
        response = self.client.responses.create(**asked)
        events = list(self.client.responses.create(stream=True, **asked))
        self.assertEqual("".join(each.delta for each in events if each.type == "response.output_text.delta"), response.output_text)

    def test_batch(self):
        """it uploads, follows and downloads a batch, cancels one, and deletes the files"""
        body = {"model": "bytes", "messages": MESSAGES, "max_tokens": 2}
        lines = [
            json.dumps({"custom_id": "r%d" % i, "method": "POST", "url": "/v1/chat/completions", "body": body})
            for i in range(100)
        ]
        file = self.client.files.create(file=("in.jsonl", "\n".join(lines).encode()), purpose="batch")

        def create():
            return self.client.batches.create(
                input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", metadata={"a": "b"}
            )

        batch = create()
        while batch.status in ("validating", "in_progress", "finalizing"):
            time.sleep(0.05)
            batch = self.client.batches.retrieve(batch.id)
        counts = batch.request_counts
        self.assertEqual((batch.status, counts.completed, counts.total, batch.metadata), ("completed", 100, 100, {"a": "b"}))
        answers = [json.loads(line) for line in self.client.files.content(batch.output_file_id).text.splitlines()]
        self.assertEqual({answer["custom_id"] for answer in answers}, {"r%d" % i for i in range(100)})
        self.assertIn(self.client.batches.cancel(create().id).status, ("cancelling", "cancelled", "completed"))
        self.assertIn(batch.id, [each.id for each in self.client.batches.list(limit=1)])
        self.assertIn(file.id, [each.id for each in self.client.files.list()])
        self.assertTrue(self.client.files.delete(file.id).deleted)

    def test_asynchronous(self):
        """its asynchronous twin asks many things at once, and may leave a stream in the middle"""

        async def run():
            async with openai.AsyncOpenAI(**endpoint()) as client:
                create = client.chat.completions.create
                answers = await asyncio.gather(*[create(model="bytes", messages=MESSAGES, **FEW) for _ in range(20)])
                stream = await create(model="bytes", messages=MESSAGES, stream=True, max_tokens=500)
                async for _ in stream:
                    break
                await stream.close()
                return answers

        self.assertEqual(len({answer.choices[0].message.content for answer in asyncio.run(run())}), 1)

"""Inputs written by a language model: replies are read and never run; silent ones are asked again; a real local server answers."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from galley.data.functions import functions_in
from galley.papers.case2code.writer import TRIES, endpoint_writer, read_reply, request

FUNCTIONS = functions_in("def f(a, b):\n    return a\ndef g(text):\n    return text\n", origin="o", package="p")
REPLY = """The arguments are numbers.
```python
examples = [
    dict(a=1, b=[2]),
    {'a': 2, 'b': 'x'},
    dict(a=open('/etc/passwd')),
]
examples += [dict(a=1, b=[2]), dict(a=3)]
```"""
NONSENSE = ["", "no code", "```python\nexamples = [dict(a=", "```python\nother = [dict(a=1)]\n```", "```python\nexamples = 3\n```"]


def test_only_literals_of_examples_are_taken():
    assert read_reply(REPLY) == [{"a": 1, "b": [2]}, {"a": 2, "b": "x"}, {"a": 3}]


@pytest.mark.parametrize("text", [*NONSENSE, "```python\nexamples = [dict(a='" + "x" * 200 + "')]\n```"])
def test_nonsense_gives_no_inputs(text):
    assert read_reply(text) == []


def test_the_question_shows_the_function_and_its_arguments():
    text = request(FUNCTIONS[0])
    assert FUNCTIONS[0].source in text and "dict(a=..., b=...)" in text


def test_an_endpoint_is_asked_again_while_it_says_nothing_and_never_twice_for_what_is_known(tmp_path):
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            text = body["messages"][0]["content"]
            asked.append(text)
            reply = REPLY if "def f" in text else "I cannot."
            answer = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "usage": {"completion_tokens": 5},
                      "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": reply}}]}  # fmt: skip
            data = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        for _ in range(2):
            writer = endpoint_writer(base_url=f"http://127.0.0.1:{server.server_port}/v1", model="m", cache=tmp_path)
            assert writer(FUNCTIONS) == [read_reply(REPLY), []]
    finally:
        server.shutdown()
    assert sum("def f" in text for text in asked) == 1 and sum("def g" in text for text in asked) == TRIES

"""A local server that speaks as much of the OpenAI protocol as a test wants, and misbehaves on request."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Endpoint:
    """Answers each completion with `echo:<prompt>`; `script` holds one misbehaviour per request, first come first served; `answer`
    makes a text of a prompt."""

    def __init__(self, port=0):
        self.requests, self.headers, self.script, self.text = [], [], [], None
        self.answer = lambda prompt: f"echo:{prompt}"
        self.lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with outer.lock:
                    outer.requests.append((self.path, body))
                    outer.headers.append(self.headers)
                    move = outer.script.pop(0) if outer.script else "answer"
                if move == "hang":
                    time.sleep(3)
                    return
                if move == "cut":
                    self.send_response(200)
                    self.send_header("Content-Length", "500")
                    self.end_headers()
                    self.wfile.write(b'{"choices"')
                    return
                if isinstance(move, int):
                    self.reply(move, {"error": {"message": f"no: {self.headers.get('Authorization')}"}})
                elif isinstance(move, tuple):  # status, headers, body; a body of chunks is cut before its end
                    status, headers, body = move
                    self.send_response(status)
                    for name, value in headers.items():
                        self.send_header(name, value)
                    if "Transfer-Encoding" not in headers:
                        self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                    self.close_connection = True
                elif isinstance(move, bytes):
                    self.raw(200, move)
                elif isinstance(move, dict):
                    self.reply(200, move)
                else:
                    chat = self.path.endswith("/chat/completions")
                    asked = body["messages"][-1]["content"] if chat else body["prompt"]
                    text = outer.answer(asked) if outer.text is None else outer.text
                    choice = {
                        "index": 0,
                        "finish_reason": "stop",
                        **({"message": {"role": "assistant", "content": text}} if chat else {"text": text}),
                    }
                    self.reply(200, {"id": "1", "object": "x", "created": 0, "model": body["model"], "choices": [choice],
                                     "usage": {"completion_tokens": 7, "prompt_tokens": 1, "total_tokens": 8}})  # fmt: skip

            def reply(self, status, value):
                self.raw(status, json.dumps(value).encode())

            def raw(self, status, data):
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                if status == 429:
                    self.send_header("Retry-After", "0.01")
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"

    def close(self):
        self.server.shutdown()
        self.server.server_close()

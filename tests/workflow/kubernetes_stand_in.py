"""A Kubernetes API that keeps every job it is given and reports each as failed: nothing runs."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from serving import serving

FAILED = {"kind": "Job", "apiVersion": "batch/v1", "metadata": {"name": "job"}, "status": {"failed": 1}}
NO_PODS: dict[str, Any] = {"kind": "PodList", "apiVersion": "v1", "items": []}


@contextmanager
def kubernetes_server(jobs: list[dict[str, Any]], kubeconfig: Path) -> Iterator[None]:
    """Serve on a free local port that `kubeconfig` then names; append the address and the body of each created job to `jobs`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Stay silent."""

        def answer(self, code: int, value: object) -> None:
            body = json.dumps(value).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def body(self) -> dict[str, Any]:
            return json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")

        def do_POST(self) -> None:
            body = self.body()
            if self.path.endswith("/jobs"):
                jobs.append({"path": self.path, **body})
            self.answer(201, body)

        def do_DELETE(self) -> None:
            self.body()
            self.answer(200, {"kind": "Status", "status": "Success"})

        def do_GET(self) -> None:
            self.answer(200, NO_PODS if "/pods" in self.path else FAILED)

    with serving(Handler) as address:
        here = {
            "apiVersion": "v1", "kind": "Config", "current-context": "here",
            "clusters": [{"name": "here", "cluster": {"server": address}}],
            "users": [{"name": "nobody", "user": {"token": "none"}}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "nobody"}}],
        }  # fmt: skip
        kubeconfig.write_text(json.dumps(here))
        yield

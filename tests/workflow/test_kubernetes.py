"""The Kubernetes profile's dry run, against an empty bucket served from here."""

import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from tree import ROOT

pytestmark = [pytest.mark.workflow, pytest.mark.timeout(200)]
EMPTY = b'<?xml version="1.0"?><ListBucketResult><Name>galley-results</Name><IsTruncated>false</IsTruncated></ListBucketResult>'


class EmptyBucket(BaseHTTPRequestHandler):
    def do_HEAD(self):
        is_bucket = self.path.strip("/").count("/") == 0
        self.send_response(200 if is_bucket else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(EMPTY)))
        self.end_headers()
        self.wfile.write(EMPTY)

    def log_message(self, *args):
        pass


def test_dry_run_plans_everything_through_the_bucket():
    server = ThreadingHTTPServer(("127.0.0.1", 0), EmptyBucket)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    env = os.environ | {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing", "AWS_DEFAULT_REGION": "us-east-1"}
    command = ["snakemake", "--profile", "profiles/kubernetes", "-n", "all", "--config", "scale=smoke"]
    command += ["--storage-s3-endpoint-url", f"http://127.0.0.1:{server.server_port}"]
    try:
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    finally:
        server.shutdown()
    text = done.stdout + done.stderr
    assert done.returncode == 0, text[-3000:]
    assert "s3://galley-results/mha2mla/results/smoke" in text and "mha2mla_arms" in text

"""A bucket in memory behind S3's own protocol: what the storage plugin calls, and no more."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import format_datetime
from hashlib import md5
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from serving import serving

Bucket = dict[str, tuple[bytes, datetime]]
ENTRY = "<Contents><Key>{key}</Key><LastModified>{time}</LastModified><ETag>&quot;{tag}&quot;</ETag><Size>{size}</Size></Contents>"
NOT_FOUND = b"<Error><Code>NoSuchKey</Code><Message>not there</Message></Error>"


@contextmanager
def s3_server(buckets: dict[str, Bucket]) -> Iterator[str]:
    """Serve `buckets` on a free local port; yield the endpoint's address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Stay silent."""

        def answer(self, code: int, body: bytes = b"", **headers: str) -> None:
            self.send_response(code)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def place(self) -> tuple[Bucket | None, str]:
            """Return the bucket and the key of the request."""
            self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            name, _, key = unquote(urlsplit(self.path).path).lstrip("/").partition("/")
            if self.command == "PUT" and not key:
                buckets.setdefault(name, {})
            return buckets.get(name), key

        def do_GET(self) -> None:
            bucket, key = self.place()
            if bucket is None or (key and key not in bucket):
                self.answer(404, NOT_FOUND)
            elif key:
                body, time = bucket[key]
                self.answer(200, body, ETag=f'"{md5(body).hexdigest()}"', Last_Modified=format_datetime(time, usegmt=True))
            else:
                prefix = parse_qs(urlsplit(self.path).query).get("prefix", [""])[0]
                entries = [
                    ENTRY.format(key=escape(k), time=t.strftime("%Y-%m-%dT%H:%M:%S.%fZ"), tag=md5(b).hexdigest(), size=len(b))
                    for k, (b, t) in sorted(bucket.items())
                    if k.startswith(prefix)
                ]
                self.answer(200, f"<ListBucketResult><IsTruncated>false</IsTruncated>{''.join(entries)}</ListBucketResult>".encode())

        do_HEAD = do_GET

        def do_PUT(self) -> None:
            bucket, key = self.place()
            if bucket is None:
                self.answer(404, NOT_FOUND)
                return
            if key:
                bucket[key] = (self.body, datetime.now(UTC))
            self.answer(200, ETag=f'"{md5(self.body).hexdigest()}"')

        def do_DELETE(self) -> None:
            bucket, key = self.place()
            (bucket or {}).pop(key, None)
            self.answer(204)

    with serving(Handler) as address:
        yield address

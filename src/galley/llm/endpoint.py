"""An OpenAI-compatible endpoint as a backend: vLLM at paper scale, a llama.cpp server, or a vendor.

Source: ours, on the openai client and tenacity. Plain prompts go to /completions, messages to /chat/completions. What may pass
(no connection, a timeout, 408, 409, 429, 5xx, an answer that is none) is tried again with growing pauses, then recorded as failed
with its reason; what will not (401, 403, 404, a redirection, an address where nobody ever answered) stops the run; a refused request
(400, 413, 422) fails alone. The key comes from the environment. What a server says is read field by field: texts, ends of a known
kind, numbers that are numbers; of an answer that is none nothing is repeated. A completion that holds the key is a failed one: no model
says what it cannot know, and cut out it would be another text than the model's.
"""

from __future__ import annotations

import math
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_exponential_jitter

from galley.artifact import GalleyError
from galley.llm.backend import Completion, Item, Prompt, Sampling, checked, cut, items_of
from galley.llm.cache import ResponseCache, draw_all, grouped
from galley.redact import for_a_reader, keep_secret, says_a_secret
from galley.secret_forms import secrets_of

LONGEST_WAIT_S = 60.0
SENT_STOPS = 4  # vendors take no more; the others are cut here
FINISH = {"stop": "stop", "eos": "stop", "length": "length"}
OTHER_ENDS = ("content_filter", "tool_calls", "function_call", "abort", "error")  # of the protocol and its servers: no completion
MOST_TOKENS = 10_000_000  # of one completion; more is no count
CONNECT_S = 5.0  # to a server that is there
FIRST_ATTEMPTS = 2  # at a connection where nobody has answered yet: a wrong address costs seconds


class Passing(Exception):
    """A fault that may pass; `wait_s` is how long the server asked us to wait."""

    def __init__(self, reason: str, wait_s: float = 0.0) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


class Refused(Exception):
    """A request that the server will never take."""


class Unreachable(Passing):
    """No connection came about."""


class EndpointBackend:
    """A model behind an OpenAI-compatible address, with `workers` requests at a time."""

    def __init__(
        self, url: str, model: str, *, key_env: str = "OPENAI_API_KEY", cache: Path | None = None, workers: int = 4,
        requests_per_minute: float | None = None, timeout_s: float = 120.0, attempts: int = 6, first_wait_s: float = 1.0,
        give_up_after: int = 16,
    ) -> None:  # fmt: skip
        from openai import DefaultHttpxClient, OpenAI, Timeout

        self.key, self.key_env = _key(key_env), key_env
        if says_a_secret(model):
            raise GalleyError(f"model is a name with the key of {key_env} in it; give the name that the endpoint serves")
        self.url, self.model, self.name = address(url), model, f"endpoint:{model}"
        self.identity = model  # not the address: a server that comes back elsewhere goes on with what was kept
        wait = Timeout(timeout_s, connect=min(timeout_s, CONNECT_S))
        # A redirection would take prompts, and what it says of the key, to an address that nobody named.
        self.client = OpenAI(base_url=self.url, api_key=self.key or "none", timeout=wait, max_retries=0,
                             http_client=DefaultHttpxClient(follow_redirects=False, timeout=wait))  # fmt: skip
        self.answered = False
        self.cache, self.workers, self.give_up_after = ResponseCache(cache) if cache else None, workers, give_up_after
        self.attempts, self.first_wait_s = attempts, first_wait_s
        self.pace = Pace(requests_per_minute)
        self.failed_in_a_row = 0

    def generate(
        self, prompts: Sequence[Prompt], *, n: int = 1, temperature: float = 0.0, top_p: float = 1.0,
        max_tokens: int = 512, stop: Sequence[str] = (), seed: int = 0,
    ) -> list[list[Completion]]:  # fmt: skip
        """Return n completions of each prompt, each from a request of its own with a seed of its own."""
        sampling = checked(n, temperature, top_p, max_tokens, stop, seed)
        self.failed_in_a_row = 0

        def draw(todo: list[tuple[int, Item]]) -> Iterator[tuple[int, Completion]]:
            return self._draw(todo, sampling)

        done = draw_all(items_of(prompts, n), draw, identity=self.identity, sampling=sampling, cache=self.cache)
        return grouped(done, n)

    def _draw(self, todo: list[tuple[int, Item]], sampling: Sampling) -> Iterator[tuple[int, Completion]]:
        with ThreadPoolExecutor(self.workers) as pool:
            waiting: dict[Future[Completion], int] = {pool.submit(self._complete, item, sampling): at for at, item in todo}
            try:
                for future in as_completed(waiting):
                    yield waiting[future], future.result()
            except BaseException:  # a wrong key, Ctrl-C: what has not begun is not begun
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _complete(self, item: Item, sampling: Sampling) -> Completion:
        if self.failed_in_a_row >= self.give_up_after:
            return Completion("", "failed", None, f"not tried: {self.give_up_after} requests in a row had failed; run it again to go on")
        retrying = Retrying(retry=retry_if_exception_type(Passing), stop=self._enough, wait=self._wait, reraise=True, sleep=time.sleep)
        try:
            completion = retrying(self._once, item, sampling)
        except Refused as fault:
            return Completion("", "failed", None, str(fault))
        except Passing as fault:
            if isinstance(fault, Unreachable) and not self.answered:
                raise GalleyError(f"endpoint is {fault}; start its server, or give the address where it answers") from None
            self.failed_in_a_row += 1
            return Completion("", "failed", None, f"{fault} ({self.attempts} attempts)")
        self.failed_in_a_row = 0
        return completion

    def _enough(self, state: RetryCallState) -> bool:
        """Return whether to stop trying: soon at a connection where nobody has ever answered."""
        fault = state.outcome.exception() if state.outcome else None
        never = isinstance(fault, Unreachable) and not self.answered
        return state.attempt_number >= (min(FIRST_ATTEMPTS, self.attempts) if never else self.attempts)

    def _wait(self, state: RetryCallState) -> float:
        """Return the next pause in seconds: growing, with jitter, and no shorter than the server asked for (a minute at most)."""
        fault = state.outcome.exception() if state.outcome else None
        asked = fault.wait_s if isinstance(fault, Passing) else 0.0
        grown = wait_exponential_jitter(initial=self.first_wait_s, max=LONGEST_WAIT_S, jitter=self.first_wait_s)(state)
        return min(LONGEST_WAIT_S, max(asked, grown))

    def _once(self, item: Item, sampling: Sampling) -> Completion:
        """Ask once; Passing, Refused or a GalleyError when there is no completion."""
        import openai

        self.pace.wait()
        settings: dict[str, Any] = {"model": self.model, "max_tokens": sampling.max_tokens, "temperature": sampling.temperature,
                                    "top_p": sampling.top_p, "seed": item.seed(sampling.seed)}  # fmt: skip
        if sampling.stop:
            settings["stop"] = list(sampling.stop[:SENT_STOPS])
        try:
            if isinstance(item.prompt, str):
                answer: Any = self.client.completions.create(prompt=item.prompt, **settings)
            else:
                messages: Any = item.plain()
                answer = self.client.chat.completions.create(messages=messages, **settings)
        except openai.APIStatusError as fault:
            self.answered = True
            raise self._status(fault) from None
        except openai.APIConnectionError as fault:
            raise self._connection(fault) from None
        except (openai.OpenAIError, ValueError, RecursionError) as fault:
            self.answered = True
            raise Passing(f"an answer that is no JSON of the protocol ({type(fault).__name__})") from None
        self.answered = True
        return _read(answer, chat=not isinstance(item.prompt, str), stop=sampling.stop, key_env=self.key_env)

    def _connection(self, fault: Exception) -> Passing:
        """Return what went wrong on the way; only what the operating system says is repeated."""
        import httpx2

        causes: list[BaseException] = [fault]
        while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None and cause not in causes:
            causes.append(cause)
        if any(isinstance(cause, httpx2.ConnectTimeout) for cause in causes):
            return Unreachable(f"{self.url}: no connection within {CONNECT_S:g} s")
        if any(isinstance(cause, httpx2.ConnectError | httpx2.ProxyError) for cause in causes):
            return Unreachable(f"{self.url}: {_why(causes)}")
        self.answered = True
        if any(isinstance(cause, httpx2.TimeoutException) for cause in causes):
            return Passing(f"{self.url} gave no answer in time")
        return Passing(f"the connection to {self.url} broke ({type(causes[min(1, len(causes) - 1)]).__name__})")

    def _status(self, fault: Any) -> Exception:
        said = "".join(c if c.isprintable() else " " for c in for_a_reader(str(fault)))[:300]  # after, so that no key is cut in two
        status = fault.status_code
        if 300 <= status < 400:
            return GalleyError(f"endpoint is {self.url}, which sends requests elsewhere ({status}); give the address that it sends them to")
        if status in (401, 403, 404):
            what = "set its key in the environment" if status != 404 else f"see that it serves the model {self.model!r}"
            return GalleyError(f"the endpoint {self.url} answered {status}: {said}; {what}")
        if status in (408, 409, 425, 429) or status >= 500:
            return Passing(f"status {status}: {said}", _seconds(fault.response.headers.get("retry-after", "")))
        return Refused(f"status {status}: {said}")


def address(url: str) -> str:
    """Return an endpoint's address; GalleyError for one that is none, or that holds what belongs into the environment."""
    hidden = for_a_reader(url) != url
    shown = for_a_reader(_shown(url))
    way_out = "it must be an http(s) address without a user, a password or a query, such as http://127.0.0.1:8000/v1"
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if hidden or "@" in url or "?" in url or "#" in url:
        raise GalleyError(f"endpoint is {shown!r} with a user, a key or a query left out here; {way_out}, and the key in the environment")
    if not sound or not url.isprintable() or " " in url:
        raise GalleyError(f"endpoint is {shown!r}; {way_out}")
    return url.rstrip("/")


def _shown(url: str) -> str:
    """Return an address without its user and query; where one cannot be told from the other, no more than how it begins."""
    scheme, mark, rest = url.rpartition("://") if url.count("://") == 1 else ("", "", url)
    user, at, place = rest.rpartition("@")
    if scheme.lower() not in ("http", "https", "ftp", "") or any(sign in user for sign in "?#") or (at and "://" in rest):
        return "..."
    return scheme + mark + place.partition("?")[0].partition("#")[0]


def _key(variable: str) -> str:
    """Return the key in an environment variable, a secret from now on as a proxy's are; GalleyError for one that no header can hold."""
    key = os.environ.get(variable, "").strip()
    keep_secret(key, *secrets_of({name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}))
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise GalleyError(f"key_env is {variable!r}, whose value has a character that no key has; set it again, on one line")
    return key


def _why(causes: Sequence[BaseException]) -> str:
    for cause in causes:
        if isinstance(cause, socket.gaierror):
            return "no host of that name is known"
        if isinstance(cause, ConnectionRefusedError):
            return "the connection was refused"
        if isinstance(cause, ssl.SSLError):
            return f"no TLS connection ({cause.reason or 'handshake failed'})"
        if isinstance(cause, OSError) and cause.errno:
            return os.strerror(cause.errno)
    return "no connection"


def _seconds(text: str) -> float:
    """Return how long a server asks to wait; 0 where it says no number of seconds."""
    try:
        asked = float(text)
    except ValueError:
        return 0.0
    return asked if math.isfinite(asked) and asked > 0 else 0.0


def _read(answer: Any, *, chat: bool, stop: Sequence[str], key_env: str) -> Completion:
    """Return the completion in a response; raise Passing when there is none in it, Refused when it holds the key."""
    try:
        choice = answer.choices[0]
        text = choice.message.content if chat else choice.text
        finish = choice.finish_reason
    except (AttributeError, IndexError, KeyError, TypeError):
        raise Passing("an answer without a completion") from None
    if not isinstance(text, str):
        raise Passing("a completion that is not text")
    if says_a_secret(text):  # before the cut, which could leave a key's beginning
        raise Refused(f"a completion that holds the key of {key_env}, or a part of it; where the server wants no key, unset it")
    text, stopped = cut(text, stop)
    tokens = getattr(getattr(answer, "usage", None), "completion_tokens", None)
    tokens = tokens if type(tokens) is int and 0 <= tokens <= MOST_TOKENS else None
    known = finish if isinstance(finish, str) else ""
    if stopped or known in FINISH:
        return Completion(text, "stop" if stopped else FINISH[known], tokens)  # type: ignore[arg-type]
    ended = f"with {known}" if known in OTHER_ENDS else f"in a way that is none of {', '.join((*FINISH, *OTHER_ENDS))}"
    return Completion("", "failed", tokens, f"the server ended it {ended}")


class Pace:
    """Lets `per_minute` requests through a minute, evenly; None is no limit."""

    def __init__(self, per_minute: float | None, *, now: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep):
        if per_minute is not None and per_minute <= 0:
            raise GalleyError(f"requests_per_minute is {per_minute}; it must be above 0, or left out for no limit")
        self.gap = 60.0 / per_minute if per_minute else 0.0
        self.now, self.sleep, self.lock, self.next = now, sleep, threading.Lock(), 0.0

    def wait(self) -> None:
        """Wait for this request's turn."""
        if not self.gap:
            return
        with self.lock:
            turn = max(self.next, self.now())
            self.next = turn + self.gap
        self.sleep(max(0.0, turn - self.now()))

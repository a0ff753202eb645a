"""An OpenAI-compatible endpoint as a backend: vLLM at paper scale, a llama.cpp server, or a vendor.

Source: ours, on the openai client and tenacity. Plain prompts go to /completions, messages to /chat/completions. What may pass
(no connection, a timeout, 408, 409, 429, 5xx, an answer that is none) is tried again with growing pauses, then recorded as failed
with its reason; what will not (401, 403, 404) stops the run; a refused request (400, 413, 422) fails alone. The key comes from
the environment, and is cut out of every reason.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from galley.artifact import GalleyError
from galley.llm.backend import Completion, Item, Prompt, Sampling, checked, cut, items_of
from galley.llm.cache import ResponseCache, draw_all, grouped

LONGEST_WAIT_S = 60.0
SENT_STOPS = 4  # vendors take no more; the others are cut here
FINISH = {"stop": "stop", "eos": "stop", "length": "length"}


class Passing(Exception):
    """A fault that may pass; `wait_s` is how long the server asked us to wait."""

    def __init__(self, reason: str, wait_s: float = 0.0) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


class Refused(Exception):
    """A request that the server will never take."""


class EndpointBackend:
    """A model behind an OpenAI-compatible address, with `workers` requests at a time."""

    def __init__(
        self, url: str, model: str, *, key_env: str = "OPENAI_API_KEY", cache: Path | None = None, workers: int = 4,
        requests_per_minute: float | None = None, timeout_s: float = 120.0, attempts: int = 6, first_wait_s: float = 1.0,
        give_up_after: int = 16,
    ) -> None:  # fmt: skip
        from openai import OpenAI

        if not url.startswith(("http://", "https://")) or "@" in url:
            raise GalleyError(f"endpoint is {url!r}; it must be an http(s) address without a password, such as http://127.0.0.1:8000/v1")
        self.url, self.model, self.name = url.rstrip("/"), model, f"endpoint:{model}"
        self.identity = f"{self.url} {model}"
        self.key = os.environ.get(key_env, "")
        self.client = OpenAI(base_url=self.url, api_key=self.key or "none", timeout=timeout_s, max_retries=0)
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
        retrying = Retrying(
            retry=retry_if_exception_type(Passing), stop=stop_after_attempt(self.attempts), wait=self._wait, reraise=True, sleep=time.sleep
        )
        try:
            completion = retrying(self._once, item, sampling)
        except Refused as fault:
            return Completion("", "failed", None, self._clean(str(fault)))
        except Passing as fault:
            self.failed_in_a_row += 1
            return Completion("", "failed", None, self._clean(f"{fault} ({self.attempts} attempts)"))
        self.failed_in_a_row = 0
        return completion

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
        except openai.APITimeoutError:
            raise Passing("no answer in time") from None
        except openai.APIStatusError as fault:
            raise self._status(fault) from None
        except (openai.APIConnectionError, openai.APIResponseValidationError, ValueError) as fault:
            raise Passing(f"{type(fault).__name__}: {fault}") from None
        return _read(answer, chat=not isinstance(item.prompt, str), stop=sampling.stop)

    def _status(self, fault: Any) -> Exception:
        said = self._clean(str(fault))[:300]
        if fault.status_code in (401, 403, 404):
            what = "set its key in the environment" if fault.status_code != 404 else f"see that it serves the model {self.model!r}"
            return GalleyError(f"the endpoint {self.url} answered {fault.status_code}: {said}; {what}")
        if fault.status_code in (408, 409, 425, 429) or fault.status_code >= 500:
            try:
                wait_s = float(fault.response.headers.get("retry-after", 0))
            except ValueError:
                wait_s = 0.0
            return Passing(f"status {fault.status_code}: {said}", wait_s)
        return Refused(f"status {fault.status_code}: {said}")

    def _clean(self, text: str) -> str:
        return text.replace(self.key, "<key>") if self.key else text


def _read(answer: Any, *, chat: bool, stop: Sequence[str]) -> Completion:
    """Return the completion in a response, or raise Passing when there is none in it."""
    try:
        choice = answer.choices[0]
        text = choice.message.content if chat else choice.text
        finish = choice.finish_reason
    except (AttributeError, IndexError, KeyError, TypeError):
        raise Passing(f"an answer without a completion: {str(answer)[:100]}") from None
    if not isinstance(text, str):
        raise Passing(f"a completion that is not text: {text!r}")
    text, stopped = cut(text, stop)
    tokens = getattr(getattr(answer, "usage", None), "completion_tokens", None)
    tokens = tokens if isinstance(tokens, int) else None
    if stopped or finish in FINISH:
        return Completion(text, "stop" if stopped else FINISH[finish], tokens)  # type: ignore[arg-type]
    return Completion(text, "failed", tokens, f"the server ended it with {finish!r}")


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

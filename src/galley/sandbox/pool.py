"""The sandbox: untrusted programs in, verdicts and plain data out.

    with Sandbox(workers=2) as sandbox:
        outcome = sandbox.run(Program("1", "def f(x): return x + 1", Calls("f", [[1], [2]])))

Source: ours.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import selectors
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from galley.artifact import GalleyError
from galley.sandbox import launch, plain
from galley.sandbox.judge import Reply, judge
from galley.sandbox.probe import quick
from galley.sandbox.types import Calls, Limits, Outcome, Program, Stdin
from galley.sandbox.worker import Worker

SHORT_S = 0.02  # a runner whose programs are shorter holds the next one too; behind a long one it would wait in vain
SLACK_S = 10.0  # beyond a program's wall limit before a silent runner is replaced
HELD_BYTES = 256 << 20  # results that wait for an earlier program: no more is begun beyond it
STORED_BYTES = 64 << 20  # inputs that a runner keeps


def _weight(outcome: Outcome) -> int:
    return sum(len(call.raw) for call in outcome.calls)


def _cores(workers: int) -> list[int | None]:
    """Return a core for each worker, where they are as many as the cores that we may use.

    A runner, its programs and its tester take turns. On one core they share its caches and page tables, and none wakes another
    core; fewer workers stay free to run wherever there is room.
    """
    own = sorted(os.sched_getaffinity(0))
    return [*own] if workers == len(own) > 1 else [None] * workers


def _encoded(i: int, item: Any) -> bytes:
    try:
        return plain.dumps(dict(item) if hasattr(item, "keys") else list(item))
    except (plain.NotPlain, TypeError) as error:
        raise GalleyError(f"input {i} is {item!r:.80}: {error}; an input is a list or a mapping of plain data") from None


@dataclasses.dataclass
class _Lane:
    worker: Worker
    core: int | None = None
    sent: deque[tuple[int, Program, Reply]] = dataclasses.field(default_factory=deque)
    since: float = 0.0
    pace: float = 0.0  # seconds per program of late

    @property
    def free(self) -> bool:
        """Whether it takes another program."""
        return len(self.sent) < (2 if self.pace < SHORT_S else 1)


class Sandbox:
    """Long-lived isolated runners, one per worker, each forking once per program. A context manager."""

    def __init__(
        self,
        *,
        workers: int = 1,
        preload: Sequence[str] = (),
        limits: Limits | None = None,
        hash_seed: int = 0,
        unsafe: bool = False,
        probe: bool = True,
    ) -> None:
        """Start the runners and, unless told otherwise, try whether they hold.

        Raises GalleyError `no_sandbox` when this machine cannot isolate, or a layer does not hold, and `unsafe` is False.
        """
        if workers < 1:
            raise GalleyError(f"workers is {workers}; it must be at least 1")
        self.limits = limits or Limits()
        self._options: dict[str, Any] = {"preload": tuple(preload), "hash_seed": hash_seed, "mode": "unsafe"}
        self._lanes: list[_Lane] = []
        self._encoded: dict[int, tuple[Any, str, list[bytes]]] = {}
        cores = _cores(workers)
        try:
            first = Worker(**self._options, core=cores[0]) if unsafe else self._first_safe(cores[0])
            self._lanes.append(_Lane(first, cores[0]))
            for core in cores[1:]:
                self._lanes.append(_Lane(Worker(**self._options, core=core), core))
            if probe and not unsafe:
                self._try()
        except BaseException:
            self.close()
            raise

    def _first_safe(self, core: int | None) -> Worker:
        refused = []
        for mode in launch.SAFE:
            self._options["mode"] = mode
            try:
                return Worker(**self._options, core=core)
            except GalleyError as error:
                refused.append(f"{mode}: {str(error).removeprefix('no_sandbox: ')}")
        raise GalleyError(f"no_sandbox: {'; '.join(refused)}; `galley sandbox doctor` says what to do")

    def _try(self) -> None:
        broken = [finding.name for finding in quick(self) if not finding.held]
        if broken:
            raise GalleyError(f"no_sandbox: a program got through: {', '.join(broken)}; `galley sandbox doctor` tells more")

    @property
    def isolation(self) -> str:
        """What isolates the programs, as written into every outcome."""
        layers = self._lanes[0].worker.layers
        return "none (--unsafe)" if "unsafe" in layers else "+".join(name for name in layers if name != "proc")

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def runner_pids(self) -> list[int]:
        """Return the runners' process ids."""
        return [lane.worker.process.pid for lane in self._lanes]

    def close(self) -> None:
        """End the runners."""
        for lane in self._lanes:
            lane.worker.kill()
        self._lanes = []

    def run(self, program: Program) -> Outcome:
        """Run one program."""
        return next(self.map([program]))

    def passed(self, programs: Sequence[Program]) -> list[bool]:
        """Say of each program whether it passes: a reward, for a training loop. One batch at a time."""
        return [outcome.verdict == "pass" for outcome in self.map(programs)]

    def map(self, programs: Iterable[Program], *, ordered: bool = True) -> Iterator[Outcome]:
        """Run programs on all workers and yield outcomes as they come, in input order unless told otherwise.

        Reads ahead a bounded number of programs, so that a stream of any length needs bounded memory.
        """
        if not self._lanes:
            raise GalleyError("this sandbox is closed")
        source = enumerate(programs)
        waiting: dict[int, Outcome] = {}
        following, exhausted, held = 0, False, 0
        ahead = 64 * len(self._lanes)
        try:
            while True:
                while not exhausted and (lane := self._free()) is not None:
                    late = self._newest(following, waiting) - following > ahead or held > HELD_BYTES
                    if ordered and late and any(lane.sent for lane in self._lanes):
                        break
                    item = next(source, None)
                    if item is None:
                        exhausted = True
                        break
                    self._hand(lane, *item)
                if exhausted and not any(lane.sent for lane in self._lanes) and not waiting:
                    return
                for number, outcome in self._collect():
                    if not ordered:
                        yield outcome
                        continue
                    waiting[number] = outcome
                    held += _weight(outcome)
                while following in waiting:
                    outcome = waiting.pop(following)
                    held -= _weight(outcome)
                    yield outcome
                    following += 1
        finally:
            self._abandon()

    def _newest(self, following: int, waiting: dict[int, Outcome]) -> int:
        return max([following, *waiting, *(number for lane in self._lanes for number, _, _ in lane.sent)])

    def _free(self) -> _Lane | None:
        lane = min(self._lanes, key=lambda lane: (len(lane.sent), lane.pace))
        return lane if lane.free else None

    def _hand(self, lane: _Lane, number: int, program: Program) -> None:
        limits = program.limits or self.limits
        do = program.do
        fields = {key: value for key, value in vars(do).items() if key != "inputs"}
        if isinstance(do, Calls):
            fields["stored"] = self._store(lane.worker, do.inputs)
        elif isinstance(do, Stdin):
            fields["inputs"] = list(do.inputs)
        token = os.urandom(16)
        job = {"kind": type(do).__name__, "code": program.code, "do": fields, "limits": dataclasses.asdict(limits), "token": token}
        if not lane.sent:
            lane.since = time.monotonic()
        lane.sent.append((number, program, Reply(token, len(do.inputs) if isinstance(do, Stdin) else 1)))
        lane.worker.send(job)

    def _store(self, worker: Worker, inputs: Sequence[Any]) -> str:
        """Send a task's inputs to a runner once; returns their key."""
        known = self._encoded.get(id(inputs))
        if known is None or known[0] is not inputs:
            blobs = [_encoded(i, item) for i, item in enumerate(inputs)]
            key = hashlib.sha256(b"".join(len(b).to_bytes(8, "little") + b for b in blobs)).hexdigest()
            while self._encoded and sum(len(b) for _, _, bs in self._encoded.values() for b in bs) > STORED_BYTES:
                self._encoded.pop(next(iter(self._encoded)))
            known = self._encoded[id(inputs)] = (inputs, key, blobs)
        _, key, blobs = known
        if key not in worker.stored:
            while worker.stored and sum(worker.stored.values()) > STORED_BYTES:
                oldest = next(iter(worker.stored))
                del worker.stored[oldest]
                worker.send({"forget": oldest})
            worker.stored[key] = sum(len(b) for b in blobs)
            worker.send({"store": key, "blobs": blobs})
        return key

    def _collect(self) -> Iterator[tuple[int, Outcome]]:
        """Wait for some runner to answer; yields what has come."""
        with selectors.PollSelector() as ready:
            for lane in self._lanes:
                if lane.sent:
                    events = selectors.EVENT_READ | (selectors.EVENT_WRITE if lane.worker.writing else 0)
                    ready.register(lane.worker.descriptor, events, lane)
            for key, events in ready.select(timeout=1.0):
                lane = key.data
                if events & selectors.EVENT_WRITE:
                    lane.worker.flush()
                if events & selectors.EVENT_READ:
                    answers = lane.worker.receive()
                    if answers is None:
                        yield self._replace(lane, "crash", "the runner died")
                    for letter, payload in answers or []:
                        if letter == b"R":
                            raise GalleyError(f"sandbox fault: {plain.decode(payload)['message']}")
                        number, program, reply = lane.sent[0]
                        if letter == b"E":
                            now = time.monotonic()
                            lane.pace = 0.5 * (lane.pace + now - lane.since)
                            lane.since = now
                        if reply.add(letter, payload):
                            lane.sent.popleft()
                            yield number, judge(program, program.limits or self.limits, reply, isolation=self.isolation)
        for lane in self._lanes:
            if lane.sent:
                limits = lane.sent[0][1].limits or self.limits
                if time.monotonic() - lane.since > limits.wall_s + SLACK_S:
                    yield self._replace(lane, "timeout", "the runner was silent")

    def _replace(self, lane: _Lane, verdict: Any, message: str) -> tuple[int, Outcome]:
        """Start a new runner, hand it what the old one had not begun, and blame the program that was running."""
        isolation = self.isolation
        number, program, _ = lane.sent.popleft()
        pending, lane.sent = lane.sent, deque()
        lane.worker.kill()
        lane.worker = Worker(**self._options, core=lane.core)
        for later, item, _ in pending:
            self._hand(lane, later, item)
        return number, Outcome(program.id, verdict, message=message, isolation=isolation)

    def _abandon(self) -> None:
        """After an early end of `map`: runners that still work are replaced."""
        for lane in self._lanes:
            if lane.sent:
                lane.sent.clear()
                lane.worker.kill()
                lane.worker = Worker(**self._options, core=lane.core)

"""A server that says its client's key, in every writing, in every field of a reply: no file, message or line of output has it."""

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from code_sources import TEXTS, write_source
from endpoint_stand_in import Endpoint
from key_forms import SHAPES, a_key, files_with, leaks, remnants, writings

from galley import redact
from galley.artifact import GalleyError
from galley.llm import EndpointBackend

ROOT = Path(__file__).parents[2]


def choice(chat, text, **fields):
    told = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
    return {"index": 0, "finish_reason": "stop", **told, **fields}


def reply(chat, text="x = 1\n", choices=None, **fields):
    usage = {"completion_tokens": 7, "prompt_tokens": 1, "total_tokens": 8}
    return {"id": "1", "object": "x", "created": 0, "model": "m", "usage": usage, "choices": choices or [choice(chat, text)], **fields}


def good(chat, said):
    """Return replies with what is `said` in every field of one that is a completion, or not quite."""
    numbers = {"completion_tokens": said, "prompt_tokens": said, "total_tokens": said}
    odd = {"role": said, "content": "fine", "refusal": said, "reasoning_content": said, "tool_calls": [{"id": said}]}
    logprobs = {"tokens": [said], "content": [{"token": said, "logprob": said}], "text_offset": said}
    return {
        "text": reply(chat, f"# {said}\nx = 1\n"), "text alone": reply(chat, said), "id": reply(chat, id=said),
        "model": reply(chat, model=said),
        "object": reply(chat, object=said), "created": reply(chat, created=said), "fingerprint": reply(chat, system_fingerprint=said),
        "usage": reply(chat, usage=numbers), "no usage": reply(chat, usage=said), "more": reply(chat, **{said: said, "service_tier": said}),
        "finish": reply(chat, choices=[choice(chat, "x", finish_reason=said)]),
        "index": reply(chat, choices=[choice(chat, "x", index=said)]),
        "finishes": reply(chat, choices=[choice(chat, "x", finish_reason=[said, {said: said}])]),
        "logprobs": reply(chat, choices=[choice(chat, "x", logprobs=logprobs)]),
        "message": reply(chat, choices=[choice(chat, "x") | {"message": odd}]),
    }  # fmt: skip


def none(chat, said):
    """Return what is no completion: statuses, headers, bodies that break off or are none."""
    data, line = json.dumps({"error": {"message": f"wrong: {said}", "type": said, "code": said, "param": said}}).encode(), said.split()[0]
    header = "".join(c for c in line if c.isascii() and c.isprintable())
    as_json = {"Content-Type": "application/json"}
    return {
        **{f"status {status}": (status, as_json, data) for status in (400, 401, 403, 404, 408, 413, 422, 429, 500, 503)},
        "plain 400": (400, {"Content-Type": "text/html"}, f"<p>{said}</p>".encode()), "raw 500": (500, {}, said.encode()),
        "retry-after": (429, {"Retry-After": header}, b"{}"), "header": (400, {"X-Key": header, "WWW-Authenticate": header}, b"{}"),
        "location": (302, {"Location": f"http://127.0.0.1:1/{header}"}, b""), "body of 307": (307, {"Location": header}, data),
        "no json": (200, as_json, b'{"choices": [' + said.encode()), "a string": (200, as_json, json.dumps(said).encode()),
        "a list": (200, as_json, json.dumps([said]).encode()), "not utf-8": (200, as_json, b"\xff" + said.encode()),
        "other type": (200, {"Content-Type": header[:9] or "x"}, said.encode()),
        "choices": (200, as_json, json.dumps({"choices": said}).encode()),
        "odd text": (200, as_json, json.dumps(reply(chat, choices=[choice(chat, {said: [said]})])).encode()),
        "chunk cut": (200, {**as_json, "Transfer-Encoding": "chunked"}, b"ffff\r\n" + said.encode()),
        "no chunk": (200, {**as_json, "Transfer-Encoding": "chunked"}, said.encode() + b"\r\n"),
        "gzip": (200, {**as_json, "Content-Encoding": "gzip"}, said.encode()),
    }  # fmt: skip


@pytest.fixture(scope="module")
def server():
    served = Endpoint()
    yield served
    served.close()


@pytest.mark.parametrize("shape", SHAPES)
def test_every_field_of_a_reply_in_every_writing(shape, server, tmp_path, monkeypatch):
    monkeypatch.setattr(redact, "_OURS", redact._Secrets())
    key, part = a_key(shape, "replies")
    monkeypatch.setenv("VENDOR_LOGIN", key)
    made = EndpointBackend(server.url, "m", key_env="VENDOR_LOGIN", cache=tmp_path, attempts=1, workers=1, give_up_after=10**9)
    told = {**writings(key), **(remnants(key, part) if len(part) > 12 else {})}
    rng = random.Random(shape)
    outcomes = []
    for name, said in told.items():
        chat = bool(rng.randrange(2))
        moves = {**good(chat, said), **none(chat, said)}
        for field in ["text", "finish", "status 400", *rng.sample(sorted(moves), 3)]:
            prompt = f"{name} {field} {len(outcomes)}"
            prompt = [{"role": "user", "content": prompt}] if chat else prompt
            server.script = [moves[field]]
            try:
                (first,) = made.generate([prompt])[0]
                (again,) = made.generate([prompt])[0] if first.finish != "failed" else (first,)
                assert again == first, "the cache keeps what the run used"
                outcome = f"{first.text!r} {first.reason} {first.finish} {first.tokens}"
                assert first.tokens is None or first.tokens == 7
            except GalleyError as fault:
                outcome = str(fault)
                assert field in ("status 401", "status 403", "status 404", "location", "body of 307")
            assert "\n" not in outcome
            outcomes.append(outcome)
    assert len(outcomes) > 150 and not [o for o in outcomes if leaks(o.encode(), key, part)] and not files_with(tmp_path, key, part)


def test_a_completion_with_the_key_is_a_failure_and_never_a_text(server, tmp_path, monkeypatch):
    monkeypatch.setattr(redact, "_OURS", redact._Secrets())
    key, _ = a_key("hub", "cache")
    monkeypatch.setenv("HF_TOKEN", key)
    monkeypatch.setenv("MONKEY", "an ordinary word")
    monkeypatch.setenv("DB_PASSWORD", "another ordinary word")
    made = EndpointBackend(server.url, "m", key_env="HF_TOKEN", cache=tmp_path, attempts=3, workers=1)
    asked = len(server.requests)
    server.script = [reply(False, f"x = '{key}'"), reply(False, "an ordinary word, another ordinary word"), reply(False, "x = 2")]
    echoed, ordinary = (made.generate([prompt])[0][0] for prompt in ("p", "q"))
    assert (echoed.finish, echoed.text) == ("failed", "") and "the key of HF_TOKEN" in echoed.reason
    assert ordinary.text == "an ordinary word, another ordinary word" and len(server.requests) == asked + 2
    assert made.generate(["p"])[0][0].text == "x = 2", "a failure is not kept: the next run asks again"
    with pytest.raises(GalleyError, match="model is a name with the key of HF_TOKEN in it"):
        EndpointBackend(server.url, f"m-{key}", key_env="HF_TOKEN")


def test_a_proxy_s_password_is_no_completion_either(monkeypatch):
    monkeypatch.setattr(redact, "_OURS", redact._Secrets())
    monkeypatch.setenv("HTTPS_PROXY", "http://me:pr0xy-p%40ssword@127.0.0.1:9")
    EndpointBackend("http://127.0.0.1:1/v1", "m", key_env="NO_SUCH_KEY")
    assert redact.says_a_secret("it is pr0xy-p@ssword")


def write_humaneval(folder):
    rows = [{"task_id": f"HumanEval/{n}", "entry_point": name, "prompt": prompt, "canonical_solution": body,
             "test": f"def check(candidate):\n{test}"} for n, (name, prompt, body, test) in enumerate(TEXTS)]  # fmt: skip
    write_source(folder / "humaneval", "HumanEval.jsonl.gz", rows)


def galley(words, key, cwd, **environment):
    done = subprocess.run([sys.executable, "-m", "galley.cli", *words], capture_output=True, cwd=cwd, timeout=120,
                          env=os.environ | {"VENDOR_LOGIN": key, "GALLEY_CACHE": str(cwd / "cache"), **environment})  # fmt: skip
    (cwd / "said.log").write_bytes(done.stdout + done.stderr)
    return done


def test_code_generate_leaves_no_key_in_any_file_or_line(tmp_path):
    key, part = a_key("openai", "code-generate")
    write_humaneval(tmp_path / "sources")
    words = ["code-generate", "humaneval", "--model", "m", "--key-env", "VENDOR_LOGIN", "--sources", "sources", "--out", "out/s.jsonl"]
    words += ["--n", "30", "--temperature", "0.8", "--workers", "8", "--endpoint"]
    served, moves = Endpoint(), []
    for name, said in writings(key).items():
        whole, refused = good(False, said), none(False, said)["status 400"]
        moves += [whole["text"], whole["finish"], whole["usage"], refused]
        if name in ("exact", "unicode"):
            moves += [none(False, said)[field] for field in ("status 500", "no json", "chunk cut", "retry-after")]
    served.script = [*moves]
    with_debug = {"OPENAI_LOG": "debug"}  # the client's own log of requests and answers
    first = galley([*words, served.url], key, tmp_path, **with_debug)
    assert first.returncode == 2 and b"samples failed" in first.stderr and b"DEBUG" in first.stderr, first.stderr[-2000:]
    assert len((tmp_path / "out/s.jsonl").read_text().splitlines()) > 20 and not files_with(tmp_path, key, part)
    kept = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.json")}
    served.script = [none(False, " and ".join(writings(key).values()))["status 401"]] * 50
    stopped = galley([*words, served.url], key, tmp_path)
    assert stopped.returncode == 2 and "answered 401" in stopped.stderr.decode().strip().splitlines()[-1]
    assert not files_with(tmp_path, key, part), stopped.stderr
    assert all(path.read_bytes() == data for path, data in kept.items())
    served.script = []
    assert galley([*words, served.url], key, tmp_path).returncode == 0 and not files_with(tmp_path, key, part)
    served.close()
    misused = galley([*words, served.url, "--style", key], key, tmp_path, HF_TOKEN=key)  # an error repeats what it is about
    assert misused.returncode == 2 and redact.MARK.encode() in misused.stderr and not files_with(tmp_path, key, part), misused.stderr
    named = galley([*words, served.url, "--model", key], key, tmp_path)
    assert named.returncode == 2 and b"model is a name with the key" in named.stderr and not files_with(tmp_path, key, part), named.stderr
    refused = galley([*words, f"http://user:{key}@127.0.0.1:1/v1?api_key={key}"], key, tmp_path)
    assert refused.returncode == 2 and b"endpoint is" in refused.stderr and not files_with(tmp_path, key, part), refused.stderr


def test_a_dead_address_is_said_within_seconds_in_one_line(tmp_path):
    import time

    write_humaneval(tmp_path / "sources")
    served = Endpoint()
    served.close()
    words = ["code-generate", "humaneval", "--model", "m", "--endpoint", served.url, "--sources", "sources", "--out", "s.jsonl"]
    began = time.monotonic()
    done = galley(words, "", tmp_path)
    said = f"error: endpoint is {served.url}: the connection was refused; start its server, or give the address where it answers"
    assert done.returncode == 2 and said in done.stderr.decode().splitlines()[-1] and time.monotonic() - began < 30  # its imports take most
    assert not (tmp_path / "s.jsonl").exists()


SYNTHESIS = """\
    synthesis: {sequences: generated, problems: 30, gtg_problems: 2, rollouts: 2, rounds: 2, writer: endpoint, solver: endpoint,
                endpoint: {url: "URL", model: "m", key_env: VENDOR_LOGIN, workers: 1}}
"""


def test_a_recipe_that_asks_an_endpoint_leaves_no_key(tmp_path):
    key, part = a_key("anthropic", "codeseq")
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    plan, served = tmp_path / "recipes/codeseq/recipe.yaml", Endpoint()
    text = plan.read_text()
    small = "    synthesis: {sequences: generated, problems: 90, gtg_problems: 24}\n"
    assert text.count(small) == 1
    plan.write_text(text.replace(small, SYNTHESIS.replace("URL", served.url)))
    told, rng = list(writings(key).values()), random.Random(1)

    def answer(prompt):
        """Return what the stage asked for, with the key in each text of a third of them."""
        said = rng.choice(told) if rng.random() < 0.3 else "a plain word"
        if "Values: " in prompt:
            examples = json.loads(prompt.rpartition("Values: ")[2])
            asked_for = {"description": f"A story: {said}", "input_requirement": said, "output_requirement": said, "example": examples}
            return json.dumps(asked_for)
        return f"Think of {said}.\n```python\n# {said}\nn = int(input())\nprint('{said}' if n > 2 else n)\n```"

    served.answer = answer
    done = galley(["codeseq", "synthesize", "--out", "out", "--scale", "smoke"], key, tmp_path)
    asked = len(served.requests)
    served.close()
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    assert asked > 10 and not files_with(tmp_path, key, part)
    rows = [json.loads(line) for line in (tmp_path / "out/problems.jsonl").read_text().splitlines()]
    assert rows and all("a plain word" in row["description"] for row in rows) and list((tmp_path / "out/state/replies").rglob("*.json"))
    assert json.loads((tmp_path / "out/synthesis.json").read_text())["counts"]["endpoint_failed"] > 0

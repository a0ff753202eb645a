"""The redactor finds every writing of a key, changes nothing else, and stands where a process speaks to readers, never before data."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from key_forms import SHAPES, a_key, leaks, remnants, writings

from galley import redact
from galley.artifact import atomic_dir, atomic_path, manifest, write_json, write_text
from galley.redact import for_a_reader, keep_secret, says_a_secret
from galley.secret_forms import MARK, Finder, is_secret, secrets_of
from galley.synthesize.journal import Journal

ROOT = Path(__file__).parents[1]
OURS = sorted(path for path in [*(ROOT / "src/galley").rglob("*.py"), *(ROOT / "recipes").rglob("*.*")] if path.is_file())
AROUND = [("", ""), ("a ", " b"), ('{"x": "', '"}'), ("key=", "&b=1"), ("\\n", "\\n"), ("50% of ", "% more"), ("'", "',"), ("é…", "…é")]


@pytest.fixture
def secret(monkeypatch):
    """A secret of this process, which it forgets."""
    monkeypatch.setattr(redact, "_OURS", redact._Secrets())
    key, random_part = a_key("openai", "exits")
    monkeypatch.setenv("VENDOR_API_KEY", key)
    keep_secret()
    return key, random_part


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(6))
def test_every_writing_of_a_key_is_found_and_nothing_around_it_is_lost(shape, seed):
    key, part = a_key(shape, seed)
    finder = Finder([key, "another-secret-of-the-process"])
    told = {**writings(key), **(remnants(key, part) if len(part) > 12 else {})}
    for number, (name, writing) in enumerate(told.items()):
        before, after = AROUND[(number + seed) % len(AROUND)]
        clean = finder.clean(before + writing + after)
        assert MARK in clean and not leaks(clean.encode(), key, part), (name, writing, clean)
        assert finder.clean(clean) == clean, (name, clean)
        if name in ("exact", "hexadecimal", "spaced", "percent of all"):
            assert clean.endswith(MARK + after) and clean.startswith(before.rstrip("\\")[:4]), (name, clean)


def test_only_what_was_sent_is_looked_for_in_a_reply(secret):
    key, _ = secret
    assert not says_a_secret(f"say {key}") and key not in for_a_reader(f"say {key}")
    keep_secret(key)
    assert says_a_secret(f"say {key}") and not says_a_secret("say nothing of it")


@pytest.mark.parametrize("shape", SHAPES)
def test_json_with_a_key_stays_json(shape):
    for seed in range(5):
        key, part = a_key(shape, seed)
        finder, rng = Finder([key]), random.Random(seed)
        ends = [(rng.choice("abn\\\n\"'") * rng.randrange(3), rng.choice('\\\n"n')) for _ in writings(key)]
        value = {first + writing + last: [writing] for (first, last), writing in zip(ends, writings(key).values(), strict=True)}
        for ascii_only in (True, False):
            clean = finder.clean(json.dumps(value, ensure_ascii=ascii_only))
            assert isinstance(json.loads(clean), dict) and not leaks(clean.encode(), key, part), clean


def test_texts_without_a_key_are_the_same_objects():
    finder = Finder([a_key(shape, 0)[0] for shape in SHAPES if shape != "short"])
    for path in OURS:
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
        assert finder.clean(text) is text and Finder([]).clean(text) is text, path
        quoted = json.dumps(text)
        assert finder.clean(quoted) is quoted, path


def test_what_a_vendor_s_keys_begin_with_is_no_key():
    finder = Finder([a_key("anthropic", 1)[0], a_key("openai", 1)[0], a_key("hub", 1)[0]])
    for text in ("keys look like sk-ant-api03-... or sk-proj-****", "sk-ant-api03-", "hf_xxxxxxxx", "sk-proj-XXXX", "Bearer sk-..."):
        assert finder.clean(text) == text


def test_ordinary_text_is_passed_quickly():
    import timeit

    finder = Finder([a_key("openai", 2)[0], a_key("hub", 2)[0]])
    text = (ROOT / "src/galley/artifact.py").read_text()[:4000]
    assert min(timeit.repeat(lambda: finder.clean(text), number=10, repeat=5)) / 10 < 0.005  # some 0.1 ms; a busy machine's is slower


def test_which_values_of_an_environment_are_secret(tmp_path):
    (tmp_path / "token").write_text("x")
    secret = {
        "HF_TOKEN": "hf_abcdefghijk", "AWS_SECRET_ACCESS_KEY": "abc/def+ghi012", "openaiApiKey": "k-12345678", "PGPASSWORD": "12345678",
        "MY_CREDENTIAL": "/no/such/file/9", "SECRET_KEY_BASE": "0123456789abcdef", "DB_PASS": "correct horse", "APIKEY2": "zzzzyyyy9",
        "WHATEVER": "hf_" + "x1" * 9,
    }  # fmt: skip
    none = {
        "TOKENIZERS_PARALLELISM": "falsefalse", "MAX_TOKENS": "1234567890", "HF_TOKEN_PATH": str(tmp_path / "gone"),
        "PATH": "/usr/bin:/bin",
        "MY_KEY": "short", "KEYBOARD": "pc105pc105", "GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "token"),
        "SSH_KEY_FILE": "/etc/nope/x",
        "OPENAI_API_KEY": "sk-no-key-required", "GIT_CONFIG_KEY_0": "safe.directory", "OTHER_KEY": "not-needed", "MONKEYS": "three-of-them",
        "MONKEY": "all_equal", "COMPASS": "north-east", "KEY": "reproduced", "SECRETARY": "Rosencrantz", "TOKENIZER": "byte-level",
    }  # fmt: skip
    assert secrets_of(secret | none) == set(secret.values())
    hidden = {
        "HTTPS_PROXY": "http://me:pr0xy-p%40ss@proxy:3128", "HOOK": "https://host/x?a=1&access_token=tok-12345678#z",
        "GOOGLE_CREDENTIALS": json.dumps({"type": "service_account", "private_key": "-----BEGIN KEY-----\nMIIabc",
        "client_id": "1234567890"}),
    }  # fmt: skip
    assert secrets_of(hidden) >= {"pr0xy-p@ss", "pr0xy-p%40ss", "tok-12345678", "-----BEGIN KEY-----\nMIIabc"}
    assert not any("service" in found or "1234567890" in found for found in secrets_of(hidden))
    assert not is_secret("seven77") and is_secret("eight888")


def test_addresses_are_told_without_users_and_keys():
    told = for_a_reader("at https://me:pw@host/v1?api_key=abc&n=2 and ftp://tok@h/x; mail me@host, x = 'a?key=' + y")
    assert told == f"at https://{MARK}@host/v1?api_key={MARK}&n=2 and ftp://{MARK}@h/x; mail me@host, x = 'a?key=' + y"


def test_a_manifest_has_no_key(secret, tmp_path):
    key, part = secret
    for writing in writings(key).values():
        config = {"list": [{"url": "http://u:pw@h/v1", "key": writing}], "at": Path("/x", writing.replace("\0", "")), writing: 1}
        write_json(tmp_path / "f.json", manifest(stage="s", config=config, inputs={}))
        assert not leaks((tmp_path / "f.json").read_bytes(), key, part), writing
    told = json.loads((tmp_path / "f.json").read_text())["config"]["list"][0]
    assert told["url"] == f"http://{MARK}@h/v1" and MARK in told["key"]


WORDS = {
    "DB_PASSWORD": "Rosencrantz",
    "MY_KEY": "all_equal",
    "API_TOKEN": "reproduced",
    "THE_SECRET": "Guildenstern and",
    "MONKEY": "bits_per_byte",
}


def write_everything(folder):
    """Write what stages write, of words that some variable of the environment has for a value."""
    text = "Enter Rosencrantz and Guildenstern and others"
    write_text(folder / "a.txt", text)
    write_json(folder / "a.json", {"verdict": "reproduced", text: ["all_equal"]})
    with atomic_path(folder / "b.jsonl") as file:
        file.write_text(json.dumps({"text": text}) + "\n")
    with atomic_dir(folder / "c") as inner:
        (inner / "hamlet.txt").write_text(text)
    with Journal(folder / "e.sqlite") as journal:
        assert list(journal.run([("k", 1)], lambda jobs: (text for _ in jobs))) == [(1, text)]
    return text


def test_data_is_never_rewritten_whatever_the_environment_holds(tmp_path, monkeypatch):
    monkeypatch.setattr(redact, "_OURS", redact._Secrets())
    write_everything(tmp_path / "plain")
    for name, value in WORDS.items():
        monkeypatch.setenv(name, value)
    keep_secret("Rosencrantz and")  # even one that was sent
    assert "Guildenstern" not in for_a_reader("Guildenstern and") and "bits_per_byte" in for_a_reader("bits_per_byte")
    write_everything(tmp_path / "secrets")
    files = sorted(p.relative_to(tmp_path / "plain") for p in (tmp_path / "plain").rglob("*") if p.is_file() and p.suffix != ".sqlite")
    assert len(files) == 4
    for name in files:
        assert (tmp_path / "plain" / name).read_bytes() == (tmp_path / "secrets" / name).read_bytes(), name


def test_only_what_speaks_to_readers_knows_the_redactor():
    """Whoever writes data may not: rows, corpora, verdicts and fetched files are as they were made."""
    users = {str(p.relative_to(ROOT / "src/galley")) for p in (ROOT / "src/galley").rglob("*.py") if "galley.redact" in p.read_text()}
    assert users == {"artifact.py", "cli.py", "progress.py", "train/worker.py", "llm/endpoint.py"}
    used = [line.strip() for line in (ROOT / "src/galley/artifact.py").read_text().splitlines() if "for_a_reader(" in line]
    assert used == ['"config": for_a_reader(config),']


PRINTS = """
import logging, os, sys, threading, warnings
from galley.redact import guard_streams
guard_streams()
guard_streams()
key = os.environ["VENDOR_API_KEY"]
print("whole", key)
print("in", "three", "parts", end=": ")
for c in key:
    sys.stdout.write(c)
print()
print(repr(key.encode()), key.encode().hex(), sep="\\n", file=sys.stderr)
logging.basicConfig(level="DEBUG")
logging.getLogger("httpx2").debug("headers %s", {"authorization": "Bearer " + key})
warnings.warn("a warning with " + key)
print("https://user:pw@host/", "bar", end="\\r")
thread = threading.Thread(target=lambda: 1 / len([]) if not key else int(key))
thread.start()
thread.join()
sys.stdout.write("no line end " + key)
from tqdm import tqdm
for _ in tqdm(range(2), desc=key): pass
raise RuntimeError("not caught: " + key)
"""


def test_what_a_process_says_has_no_key(secret):
    key, part = secret
    done = subprocess.run([sys.executable, "-c", PRINTS], capture_output=True, env=os.environ | {"PYTHONPATH": str(ROOT / "src")})
    assert done.returncode == 1 and not leaks(done.stdout, key, part) and not leaks(done.stderr, key, part), done
    out, err = done.stdout.decode(), done.stderr.decode()
    assert f"whole {MARK}\nin three parts: {MARK}\nhttps://{MARK}@host/ bar\rno line end {MARK}" == out
    assert f"RuntimeError: not caught: {MARK}" in err and "Bearer" in err and "a warning with" in err and "invalid literal" in err


def test_a_stream_passes_whole_lines_and_what_is_flushed(secret):
    import io

    key, _ = secret
    under = io.StringIO()
    stream = redact._Guarded(under)
    assert stream.write("a") == 1 and under.getvalue() == ""
    stream.write("b\nc")
    assert under.getvalue() == "ab\n"
    stream.flush()
    assert under.getvalue() == "ab\nc" and stream.isatty() is False
    stream.writelines([key[:20], key[20:], "\n"])
    assert under.getvalue() == f"ab\nc{MARK}\n"
    with pytest.raises(TypeError, match="must be str"):
        stream.write(b"bytes")

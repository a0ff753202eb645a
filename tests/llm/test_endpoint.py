"""The endpoint backend against a server that times out, refuses, and talks nonsense."""

import threading
import time

import pytest
from endpoint_stand_in import Endpoint

from galley.artifact import GalleyError
from galley.llm import Completion, EndpointBackend
from galley.llm.endpoint import Pace


def backend(endpoint, **more):
    return EndpointBackend(endpoint.url, "m", **{"first_wait_s": 0.001, "timeout_s": 0.4, "attempts": 3, "workers": 1, **more})


def test_plain_prompts_and_messages_take_their_own_paths(endpoint):
    made = backend(endpoint)
    ((a,), (b,)) = made.generate(["one", [{"role": "user", "content": "two"}]], max_tokens=9, stop=["\n"], seed=3)
    assert (a.text, b.text, a.finish, a.tokens) == ("echo:one", "echo:two", "stop", 7)
    (path, body), (chat, other) = endpoint.requests
    assert (path, chat) == ("/v1/completions", "/v1/chat/completions") and body["stop"] == ["\n"] and body["max_tokens"] == 9
    assert body["temperature"] == 0 and body["seed"] != other["seed"]
    assert endpoint.headers[0]["Authorization"] == "Bearer sk-very-secret"


def test_samples_have_seeds_of_their_own_that_do_not_depend_on_the_batch(endpoint):
    made = backend(endpoint)
    made.generate(["a", "b"], n=2, temperature=0.8, seed=5)
    seeds = [body["seed"] for _, body in endpoint.requests]
    endpoint.requests.clear()
    made.generate(["b"], n=1, temperature=0.8, seed=5)
    made.generate(["b"], n=1, temperature=0.8, seed=6)
    assert len(set(seeds)) == 4 and endpoint.requests[0][1]["seed"] == seeds[2] and endpoint.requests[1][1]["seed"] != seeds[2]


@pytest.mark.parametrize(
    "fault",
    [429, 500, 503, "hang", "cut", b"not json", b"[]", b'"hello"', {"choices": []}, {"choices": None}, {"oops": 1},
     {"choices": [{"index": 0, "finish_reason": "stop", "text": None}]}],
    ids=str,
)  # fmt: skip
def test_what_may_pass_is_tried_again_and_then_recorded(endpoint, fault):
    endpoint.script = [fault]
    ((good,),) = backend(endpoint).generate(["p"])
    assert (good.text, good.finish) == ("echo:p", "stop") and len(endpoint.requests) == 2
    endpoint.script = [fault] * 3
    endpoint.requests.clear()
    ((bad,), (fine,)) = backend(endpoint).generate(["p", "q"])
    assert bad.finish == "failed" and bad.text == "" and "3 attempts" in bad.reason and len(endpoint.requests) == 4
    assert fine.text == "echo:q"


def test_a_refused_request_fails_alone_and_at_once(endpoint):
    endpoint.script = [400]
    ((bad,), (good,)) = backend(endpoint).generate(["p", "q"])
    assert bad.finish == "failed" and "status 400" in bad.reason and good.text == "echo:q" and len(endpoint.requests) == 2


@pytest.mark.parametrize(("status", "said"), [(401, "set its key in the environment"), (403, "key"), (404, "serves the model 'm'")])
def test_a_wrong_key_or_model_stops_the_run(endpoint, status, said):
    endpoint.script = [status] * 50
    with pytest.raises(GalleyError, match=said) as stopped:
        backend(endpoint).generate(["p"] * 50)
    assert "secret" not in str(stopped.value) and len(endpoint.requests) < 50


def test_the_key_is_in_no_reason_and_in_no_file(endpoint, tmp_path):
    endpoint.script = [400, 500, 500, 500]  # this server repeats the key in its errors
    made = backend(endpoint, cache=tmp_path)
    done = made.generate(["p", "q", "r"])
    assert all("secret" not in c.reason for row in done for c in row) and "[redacted]" in done[0][0].reason
    files = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert len(files) == 1 and all("secret" not in p.read_text() + str(p) for p in files)


def test_failures_are_tried_again_and_successes_are_not(endpoint, tmp_path):
    endpoint.script = ["answer", 500, 500, 500]
    first = backend(endpoint, cache=tmp_path).generate(["p", "q"])
    assert [row[0].finish for row in first] == ["stop", "failed"]
    endpoint.requests.clear()
    second = backend(endpoint, cache=tmp_path).generate(["p", "q"])
    assert [body["prompt"] for _, body in endpoint.requests] == ["q"] and [row[0].text for row in second] == ["echo:p", "echo:q"]
    endpoint.requests.clear()
    backend(endpoint, cache=tmp_path).generate(["p", "q"], max_tokens=5)
    assert len(endpoint.requests) == 2  # another setting is another question
    moved = EndpointBackend("http://127.0.0.1:1/v1", "m", cache=tmp_path, attempts=1)
    assert [row[0].text for row in moved.generate(["p", "q"])] == ["echo:p", "echo:q"]  # the same model at another address


def test_a_broken_cache_file_counts_as_absent(endpoint, tmp_path):
    backend(endpoint, cache=tmp_path).generate(["p"])
    (path,) = tmp_path.rglob("*.json")
    path.write_text("{")
    ((again,),) = backend(endpoint, cache=tmp_path).generate(["p"])
    assert again.text == "echo:p" and len(endpoint.requests) == 2


def test_a_dead_server_is_given_up_on(endpoint):
    made = backend(endpoint, attempts=1, give_up_after=3)
    made.generate(["p"])
    endpoint.close()
    done = made.generate([f"p{i}" for i in range(8)])
    reasons = [row[0].reason for row in done]
    assert sum(endpoint.url in r for r in reasons) == 3 and sum("not tried" in r for r in reasons) == 5


def test_an_address_where_nobody_ever_answered_is_said_within_seconds(endpoint, tmp_path):
    endpoint.close()
    for url, why in ((endpoint.url, "the connection was refused"), ("http://no-such-host.invalid/v1", "no host of that name is known")):
        began = time.monotonic()
        with pytest.raises(GalleyError) as stopped:
            EndpointBackend(url, "m", cache=tmp_path).generate(["p"] * 20)
        assert str(stopped.value) == f"endpoint is {url}: {why}; start its server, or give the address where it answers"
        assert time.monotonic() - began < 6


def test_a_server_that_comes_up_a_moment_later_is_waited_for(endpoint):
    made = backend(endpoint, first_wait_s=0.4)
    port = endpoint.server.server_port
    endpoint.close()
    threading.Timer(0.1, lambda: later.append(Endpoint(port))).start()
    later = []
    assert made.generate(["p"])[0][0].text == "echo:p"
    later[0].close()


def test_stop_strings_are_cut_here_too_and_a_foreign_end_is_a_failure(endpoint):
    endpoint.text = "x = 1\nclass A"
    ((c,),) = backend(endpoint).generate(["p"], stop=["\na", "\nb", "\nc", "\nd", "\nclass"])
    assert (c.text, c.finish) == ("x = 1", "stop") and len(endpoint.requests[0][1]["stop"]) == 4
    endpoint.script = [{"choices": [{"index": 0, "finish_reason": "content_filter", "text": "x"}]}]
    ((c,),) = backend(endpoint).generate(["p"])
    assert c.finish == "failed" and "content_filter" in c.reason
    for odd in ("whatever", 7, ["stop"], {"a": 1}, None, True, "STOP"):
        endpoint.script = [{"choices": [{"index": 0, "finish_reason": odd, "text": "x"}]}]
        ((c,),) = backend(endpoint).generate(["p"])
        assert c.finish == "failed" and c.text == "" and "none of stop" in c.reason and "whatever" not in c.reason


@pytest.mark.parametrize("odd", [-1, 1.5, True, "7", 10**12, [7], None])
def test_a_number_of_tokens_is_a_number(endpoint, odd):
    endpoint.script = [{"choices": [{"index": 0, "finish_reason": "stop", "text": "x"}], "usage": {"completion_tokens": odd}}]
    assert backend(endpoint).generate(["p"]) == [[Completion("x", "stop", None)]]


def test_nesting_without_end_is_an_answer_that_is_none(endpoint):
    endpoint.script = [b"[" * 100_000] * 3
    ((c,),) = backend(endpoint).generate(["p"])
    assert c.finish == "failed" and "(3 attempts)" in c.reason


@pytest.mark.parametrize("asked", ["nan", "inf", "-5", "Wed, 21 Oct 2026 07:28:00 GMT", "soon", ""])
def test_a_wait_that_is_no_number_of_seconds_is_not_waited(endpoint, asked):
    endpoint.script = [(429, {"Retry-After": asked}, b"{}")]
    began = time.monotonic()
    assert backend(endpoint).generate(["p"])[0][0].text == "echo:p" and time.monotonic() - began < 2


def test_a_redirection_is_not_followed(endpoint):
    endpoint.script = [(307, {"Location": "http://127.0.0.1:1/sk-very-secret"}, b"")]
    with pytest.raises(GalleyError, match=r"sends requests elsewhere \(307\)") as stopped:
        backend(endpoint).generate(["p"])
    assert "secret" not in str(stopped.value)


def test_requests_are_paced():
    clock, slept = [100.0], []

    def sleep(seconds):
        slept.append(seconds)
        clock[0] += seconds

    pace = Pace(30, now=lambda: clock[0], sleep=sleep)
    for _ in range(3):
        pace.wait()
    clock[0] += 60  # a pause is no credit for a burst
    pace.wait()
    pace.wait()
    assert slept == [0.0, 2.0, 2.0, 0.0, 2.0]
    with pytest.raises(GalleyError, match="requests_per_minute is 0"):
        Pace(0)


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://x", "http://", "http://host:99999/v1", "http://[::1/v1", "http://a b/v1"])
def test_a_wrong_address_is_refused(url):
    with pytest.raises(GalleyError, match=r"endpoint is .*must be an http"):
        EndpointBackend(url, "m")


SECRET_ADDRESSES = [  # user, password or key
    "http://user:pa55-w0rd@host/v1",
    "http://pa55-w0rd@host/v1",
    "user:pa55-w0rd@host/v1",
    "http://u:p@ss/pa55-w0rd@host/v1",
    "http://host/v1?api_key=pa55-w0rd",
    "http://host/v1#pa55-w0rd",
    "http://host/v1?x=pa55-w0rd",
    "http://host/sk-very-secret/v1",
    "http://host/sk%2Dvery%2Dsecret/v1",
    "http://sk-very-secret/v1",
    "http://u:pa55://pa55@host",
    "http://u:pa55?pa55@host/",
    "http://host/?key=pa55@pa55",
    "pa55://x@h",
    "http://u:pa55#@h",
]


@pytest.mark.parametrize("url", SECRET_ADDRESSES)
def test_an_address_with_a_secret_is_refused_without_it(url, endpoint):
    with pytest.raises(GalleyError, match=r"endpoint is .*key in the environment") as refused:
        backend(endpoint)  # the key is known from here on
        EndpointBackend(url, "m")
    assert "pa55" not in str(refused.value) and "secret" not in str(refused.value)


@pytest.mark.parametrize("key", ["two words of a key", "broken\nover-two-lines", "schlüssel-mit-umlaut"])
def test_a_key_that_no_header_can_hold_is_refused_without_it(key, endpoint, monkeypatch):
    monkeypatch.setenv("MY_KEY", key)
    with pytest.raises(GalleyError, match="key_env is 'MY_KEY'") as refused:
        backend(endpoint, key_env="MY_KEY")
    assert key not in str(refused.value)


def test_a_key_in_a_completion_is_seen_before_a_stop_string_cuts_it_in_two(endpoint, tmp_path):
    endpoint.text = "x = 'sk-very-\nsecret'  # sk-very-secret"
    first = backend(endpoint, cache=tmp_path).generate(["p"], stop=["\n"])
    assert first[0][0].finish == "failed" and first[0][0].text == "" and "holds the key" in first[0][0].reason
    assert backend(endpoint, cache=tmp_path).generate(["p"], stop=["\n"]) == first and len(endpoint.requests) == 2


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"n": 2}, "temperature 0"), ({"n": 0}, "n is 0"), ({"top_p": 0.0}, "top_p is"), ({"temperature": -1}, "temperature is"),
     ({"max_tokens": 0}, "max_tokens is 0"), ({"stop": "abc"}, "stop is 'abc'"), ({"stop": [""]}, "stop is")],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(endpoint, settings, said):
    with pytest.raises(GalleyError, match=said):
        backend(endpoint).generate(["p"], **settings)
    assert not endpoint.requests


def test_one_string_is_not_a_list_of_prompts(endpoint):
    with pytest.raises(GalleyError, match="list of prompts"):
        backend(endpoint).generate("abc")

"""The endpoint backend against a server that times out, refuses, and talks nonsense."""

import pytest

from galley.artifact import GalleyError
from galley.llm import EndpointBackend
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
    assert all("secret" not in c.reason for row in done for c in row) and "<key>" in done[0][0].reason
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


def test_a_broken_cache_file_counts_as_absent(endpoint, tmp_path):
    backend(endpoint, cache=tmp_path).generate(["p"])
    (path,) = tmp_path.rglob("*.json")
    path.write_text("{")
    ((again,),) = backend(endpoint, cache=tmp_path).generate(["p"])
    assert again.text == "echo:p" and len(endpoint.requests) == 2


def test_a_dead_server_is_given_up_on(endpoint):
    endpoint.close()
    done = backend(endpoint, attempts=1, give_up_after=3).generate([f"p{i}" for i in range(8)])
    reasons = [row[0].reason for row in done]
    assert sum("APIConnectionError" in r for r in reasons) == 3 and sum("not tried" in r for r in reasons) == 5


def test_stop_strings_are_cut_here_too_and_a_foreign_end_is_a_failure(endpoint):
    endpoint.text = "x = 1\nclass A"
    ((c,),) = backend(endpoint).generate(["p"], stop=["\na", "\nb", "\nc", "\nd", "\nclass"])
    assert (c.text, c.finish) == ("x = 1", "stop") and len(endpoint.requests[0][1]["stop"]) == 4
    endpoint.script = [{"choices": [{"index": 0, "finish_reason": "content_filter", "text": "x"}]}]
    ((c,),) = backend(endpoint).generate(["p"])
    assert c.finish == "failed" and "content_filter" in c.reason


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


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://x", "http://user:pw@host/v1"])
def test_a_wrong_address_is_refused(url):
    with pytest.raises(GalleyError, match="endpoint is"):
        EndpointBackend(url, "m")


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

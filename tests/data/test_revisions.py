"""`galley pin` against a stand-in of the hub's API on this machine."""

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
import yaml

from galley.artifact import GalleyError
from galley.cost import missing
from galley.data.revisions import read_pins
from galley.plan import read_plan_of
from galley.stage import stages_of

GATED = "meta-llama/Llama-2-7b-hf"


class Hub(BaseHTTPRequestHandler):
    """Answers repo_info; `commits` holds what main points to, a missing one is a 404."""

    commits: ClassVar[dict] = {}

    def do_GET(self):
        path = self.path.split("?")[0]
        kind, _, repo = path.removeprefix("/api/").partition("/")
        commit = self.commits.get((kind, repo.removesuffix("/revision/main")))
        body = json.dumps({"id": repo, "sha": commit, "siblings": [], "tags": []} if commit else {"error": "Repository not found"}).encode()
        self.send_response(200 if commit else 404)
        self.send_header("Content-Type", "application/json")
        if not commit:
            self.send_header("X-Error-Code", "RepoNotFound")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def tree(tmp_path):
    """A folder with the recipes that `galley pin` rewrites."""
    for name in ("mha2mla", "fourier_attention"):
        (tmp_path / "recipes" / name).mkdir(parents=True)
        (tmp_path / f"recipes/{name}/recipe.yaml").write_text(Path(f"recipes/{name}/recipe.yaml").read_text())
    (tmp_path / "recipes/datasets.yaml").write_text(Path("recipes/datasets.yaml").read_text())
    return tmp_path


def pin(tree, **env):
    variables = {**os.environ, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_TELEMETRY": "1", **env}
    command = [sys.executable, "-m", "galley.cli", "pin", "mha2mla"]
    done = subprocess.run(command, cwd=tree, env=variables, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def repositories(tree):
    plan = read_plan_of("mha2mla", "paper", folder=tree / "recipes")
    data = yaml.safe_load((tree / "recipes/datasets.yaml").read_text())
    return [("models", m.repo) for m in plan.models.values()] + [("datasets", d["repo"]) for d in data.values()]


def test_pin_writes_what_the_hub_says_and_the_plan_reads_it(tree, monkeypatch):
    plan = read_plan_of("mha2mla", "paper", folder=tree / "recipes")
    assert all(model.revision is None for model in plan.models.values())
    Hub.commits = {repo: f"{i:040x}" for i, repo in enumerate(repositories(tree))}
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        code, out, err = pin(tree, HF_ENDPOINT=address)
        assert code == 0, err
        pins = read_pins(tree / "recipes")
        assert {repo: p.commit for repo, p in pins.items()} == {repo: commit for (_, repo), commit in Hub.commits.items()}
        assert pins[GATED].kind == "model" and address in pins[GATED].by and GATED in out
        plan = read_plan_of("mha2mla", "paper", folder=tree / "recipes")
        assert all(model.revision == pins[model.repo].commit for model in plan.models.values())
        # A repository that is gone: nothing is written, the others' pins stay as they were.
        del Hub.commits["models", GATED]
        Hub.commits["models", "HuggingFaceTB/SmolLM-135M"] = "f" * 40
        code, _, err = pin(tree, HF_ENDPOINT=address)
        server.shutdown()
    assert code == 2 and GATED in err and "404" in err and "unchanged" in err
    assert read_pins(tree / "recipes") == pins


def test_without_a_network_pin_says_so(tree):
    code, _, err = pin(tree, HF_ENDPOINT="http://127.0.0.1:9")
    assert code == 2 and "http://127.0.0.1:9 cannot be asked" in err and "Traceback" not in err
    code, _, err = pin(tree, HF_HUB_OFFLINE="1")
    assert code == 2 and "unset HF_HUB_OFFLINE" in err
    assert not (tree / "recipes/revisions.yaml").exists()


def test_a_branch_is_no_pin(tree):
    (tree / "recipes/revisions.yaml").write_text("a/b: {kind: model, commit: main, date: 2026-11-25, by: me}\n")
    with pytest.raises(GalleyError, match=r"a/b.commit.*'main'.*40 hex digits"):
        read_pins(tree / "recipes")


def test_every_repository_of_the_paper_scale_is_pinned_or_named_as_missing():
    plan = read_plan_of("mha2mla", "paper")
    lacks = "\n".join(missing(plan, stages_of("mha2mla"), recipes=Path("recipes")))
    pins = read_pins(Path("recipes"))
    assert GATED in lacks
    assert all((repo in pins) != (f"{repo} has no commit" in lacks) for _, repo in repositories(Path()))

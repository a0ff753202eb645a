"""What the documents say is true: commands run, links and paths resolve, columns and claims are the code's.

Every command of a ```bash or ```sh block is run in a scratch copy. Long ones are run dry: `snakemake` and `make` get
-n, commands that need a finished run get --help. ```console blocks need a cluster or a model: only their commands are looked up.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import typer
import yaml
from in_process import galley

from galley.cli import app
from galley.tables.claims import load_claims
from galley.tables.judge import judge
from galley.tables.rows import ITEM_COLUMNS, RUN_COLUMNS
from galley.tables.table import COLUMNS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "kernels/README.md", *sorted(ROOT.glob("recipes/*/README.md"))]
TREE = ("Snakefile", "config.yaml", "rules", "recipes", "profiles", "Makefile", "requirements.lock", "pyproject.toml")
NEEDS_A_RUN = ("claims", "bench", "convert-mla", "table", "fetch", "mha2mla")
NO_ITEMS = pd.DataFrame(columns=ITEM_COLUMNS)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def name(page):
    return str(page.relative_to(ROOT))


def blocks(page, *languages):
    return [text for language, text in FENCE.findall(page.read_text(encoding="utf-8")) if language in languages]


def commands(page, *languages):
    """The commands of a page's blocks as words, without comments and prompts; continued lines are joined."""
    for block in blocks(page, *languages):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True)
            if words:
                yield words


def inline(page):
    """Code spans outside of fenced blocks."""
    return re.findall(r"`([^`\n]+)`", FENCE.sub("", page.read_text(encoding="utf-8")))


def dry(words):
    """The command that stands for a document's command, and whether it is a workflow's; None when it can only be looked up."""
    program, args = words[0], words[1:]
    if program == "snakemake":
        kept = [w for i, w in enumerate(args) if w not in ("-n", "--cores") and (i == 0 or args[i - 1] != "--cores")]
        return (str(Path(sys.executable).parent / "snakemake"), "-n", *kept), True
    if program == "make":
        return ("make", "-n", *args), False
    if program == "galley" and args[0] == "lm-eval":
        return None
    if program == "galley":
        return (sys.executable, "-m", "galley.cli", *args, *(["--help"] if args[0] in NEEDS_A_RUN else [])), False
    if program == "python":
        return (sys.executable, *args), False
    raise AssertionError(f"{shlex.join(words)}: say in tests/test_docs.py how to run {program}")


def runnable():
    """Each distinct command of all pages once, with the page that it was first seen on."""
    seen = {}
    for page in PAGES:
        for words in commands(page, "bash", "sh"):
            done = dry(words)
            if done is not None:
                seen.setdefault(done[0], (name(page), shlex.join(words), done[1]))
    return [
        pytest.param(command, id=f"{page}: {text}", marks=[pytest.mark.workflow] if workflow else [])
        for command, (page, text, workflow) in seen.items()
    ]


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    folder = tmp_path_factory.mktemp("docs")
    for entry in TREE:
        source = ROOT / entry
        shutil.copytree(source, folder / entry) if source.is_dir() else shutil.copyfile(source, folder / entry)
    return folder


@pytest.mark.parametrize("command", runnable())
def test_the_commands_run(command, scratch):
    env = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    if command[1:3] == ("-m", "galley.cli"):
        done = galley(*command[3:], cwd=scratch)
    else:
        done = subprocess.run(command, cwd=scratch, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]


def test_there_is_something_to_run():
    texts = [shlex.join(words) for page in PAGES for words in commands(page, "bash", "sh")]
    assert any("results/table_mha2mla.csv" in t for t in texts) and any(t.startswith("galley plan") for t in texts)


def galley_calls():
    """Every `galley ...` that a page mentions, in blocks or in running text."""
    for page in PAGES:
        spans = [shlex.split(s) for s in inline(page) if s.startswith("galley ")]
        for words in [*commands(page, "bash", "sh", "console"), *spans]:
            if words[0] == "galley":
                yield name(page), words[1:]


def test_every_galley_command_and_flag_exists():
    top = typer.main.get_command(app)
    faults, calls = [], list(galley_calls())
    for page, words in calls:
        command, rest = top, list(words)
        while hasattr(command, "commands") and rest and not rest[0].startswith(("-", "<", ".")):
            if rest[0] not in command.commands:
                faults.append(f"{page}: galley {' '.join(words)}: no {rest[0]!r}; there are {', '.join(command.commands)}")
                break
            command = command.commands[rest.pop(0)]
        if command.name == "lm-eval":
            continue
        known = {flag for param in command.params for flag in [*param.opts, *param.secondary_opts]} | {"--help"}
        faults += [f"{page}: galley {' '.join(words)}: no flag {w}" for w in rest if w.startswith("--") and w.split("=")[0] not in known]
    assert faults == [] and len(calls) > 5


def test_every_make_target_exists():
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([\w-]+):", makefile, re.MULTILINE))
    faults = []
    for page in PAGES:
        spans = [s.split() for s in inline(page) if s.startswith("make ")]
        for words in [*commands(page, "bash", "sh", "console"), *spans]:
            if words[0] == "make":
                wanted = [w for w in words[1:] if "=" not in w and not w.startswith(("-", "results/"))]
                faults += [f"{name(page)}: make {w}" for w in wanted if w not in targets]
    assert faults == []


def anchors(page):
    heads = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_resolve(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", page.read_text(encoding="utf-8"))):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        goal = (page.parent / path).resolve() if path else page
        assert goal.exists(), f"{name(page)} links to {target}"
        assert not anchor or anchor in anchors(goal), f"{name(page)} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_no_page_has_a_place_that_is_still_to_be_filled(page):
    assert not re.findall(r"^[A-Z]+(?:_[A-Z]+)+$|\bTODO\b", page.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_paths_in_the_text_exist(page):
    """Code spans that look like a path of the project; patterns (<paper>, *, {}) and what a run makes are left out."""
    roots = ("src/", "docs/", "rules/", "recipes/", "tests/", "profiles/", "kernels/")
    given = re.findall(r"^\*\*`([^`]+)`\*\*$", page.read_text(encoding="utf-8"), re.MULTILINE)  # files that the page itself holds
    for span in inline(page):
        path = span.split("::")[0].rstrip("/")
        if path.startswith(roots) and path not in given and not re.search(r"[<>*{} ]", path):
            assert (ROOT / path).exists(), f"{name(page)} mentions {span}"


def columns_after(text, title):
    """The column names in the code span that follows a bold title."""
    return re.search(rf"\*\*{title}\*\*.*?\n`([a-z_ ]+)`", text, re.DOTALL)[1].split()


def test_the_columns_are_the_code_s():
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    assert columns_after(text, "items") == ITEM_COLUMNS
    assert sorted(columns_after(text, "runs")) == sorted(RUN_COLUMNS)
    assert columns_after(text, "table") == COLUMNS
    example = load_claims(ROOT / "recipes/mha2mla/claims.yaml")[0]
    assert columns_after(text, "claims") == list(judge([example], NO_ITEMS, scale="laptop").columns)


def test_the_example_claims_are_such_as_a_recipe_may_have(tmp_path):
    """The rest of the page's recipe is run by tests/workflow/test_toy_recipe.py."""
    (tmp_path / "claims.yaml").write_text(blocks(ROOT / "docs/add_a_recipe.md", "yaml")[0])
    assert [claim.id for claim in load_claims(tmp_path / "claims.yaml")] == ["D1", "D2"]


def test_every_kind_and_verdict_is_explained():
    from typing import get_args

    from galley.tables.claims import VERDICTS, Kind

    text = (ROOT / "docs/statistics.md").read_text(encoding="utf-8")
    for word in (*get_args(Kind), *VERDICTS):
        assert f"`{word}`" in text, word


def test_the_versions_agree():
    version = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version
    assert re.search(rf"^## {re.escape(version)}\b", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)

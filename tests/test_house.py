"""The house rules that a machine can check."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SRC = ROOT / "src/galley"
FLOORS = {
    "artifact": 0,
    "options": 0,
    "recipe": 0,
    "stats": 0,
    "data": 1,
    "tables": 1,
    "models": 2,
    "caches": 2,
    "kernels": 2,
    "llm": 2,
    "sandbox": 2,
    "evaluate": 3,
    "synthesize": 3,
    "train": 3,
    "papers": 4,
    "cli": 5,
    "schema": 5,
}
FILES = sorted(p for p in (*SRC.rglob("*.py"), *(SRC / "kernels").rglob("*.py")) if p.name != "__init__.py")


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from ([f"galley.{a.name}" for a in node.names] if node.module == "galley" else [node.module])
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def floor(module):
    return FLOORS[module.split(".")[1]]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SRC)))
def test_no_floor_imports_one_above_it_and_no_paper_another(path):
    own = "galley." + ".".join(path.relative_to(SRC).with_suffix("").parts)
    for module in imports(path):
        if not module.startswith("galley."):
            continue
        assert floor(module) <= floor(own), f"{own} imports {module}"
        if own.startswith("galley.papers.") and module.startswith("galley.papers."):
            assert own.split(".")[2] == module.split(".")[2], f"{own} imports another paper: {module}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SRC)))
def test_a_file_is_one_concept_with_its_source(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 310
    doc = ast.get_docstring(ast.parse(text)) or ""
    assert any(word in doc for word in ("Source", "arXiv", "Protocol", "The one command line")), "say where it comes from, or `ours`"


def test_the_required_names_are_at_the_top():
    for name in ("Snakefile", "rules", "recipes", "src", "kernels", "tests", "environment.yml", "README.md", "LICENSE", "CITATION.cff"):
        assert (ROOT / name).exists(), name


def test_no_registry_host_names():
    hosts = ("pypi" + ".org", "files.python" + "hosted")
    for folder in ("src", "rules", "docs", "recipes", "profiles"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".md", ".yaml", ".smk"):
                assert not any(host in path.read_text() for host in hosts), path

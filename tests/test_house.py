"""The house rules that a machine can check."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SRC = ROOT / "src/galley"
FLOORS = {
    "artifact": 0,
    "clock": 0,
    "disk": 0,
    "holding": 0,
    "interruption": 0,
    "core_yaml": 0,
    "declared": 0,
    "inputs": 0,
    "outputs": 0,
    "options": 0,
    "progress": 0,
    "recipe": 0,
    "redact": 0,
    "secret_forms": 0,
    "seen": 0,
    "stage": 0,
    "stats": 0,
    "data": 1,
    "tables": 1,
    "models": 2,
    "plan": 2,
    "caches": 2,
    "kernels": 2,
    "llm": 2,
    "sandbox": 2,
    "evaluate": 3,
    "synthesize": 3,
    "train": 3,
    "cluster": 3,
    "cost": 3,
    "cost_page": 3,
    "ground": 3,
    "papers": 4,
    "__main__": 5,
    "cli": 5,
    "reliability": 5,
    "run": 5,
    "leftovers": 5,
    "prepare_commands": 5,
    "table_commands": 5,
    "usage": 5,
    "schema": 5,
    "stage_commands": 5,
}
ROOT_FLOOR = 2  # what `import galley` may bring in
FILES = sorted({*SRC.rglob("*.py"), *(SRC / "kernels").rglob("*.py")})  # kernels is a link, which not every rglob follows
MODULES = [path for path in FILES if path.name != "__init__.py"]


def name_of(path):
    parts = path.relative_to(SRC).with_suffix("").parts
    return ".".join(("galley", *(parts[:-1] if parts[-1] == "__init__" else parts)))


def imports(text):
    """The galley modules that a file imports, wherever in it: also inside functions and for type checkers."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, "say where from: no relative imports"
            found += [f"galley.{a.name}" for a in node.names] if node.module == "galley" else [node.module]
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
    return [module for module in found if module.startswith("galley.")]


def room(module):
    """The name under src/galley; a folder within a room (evaluate/long) is the same room."""
    return module.partition("galley.")[2].split(".")[0]


def floor(module):
    return FLOORS[room(module)] if room(module) else ROOT_FLOOR


def doors(files):
    """Which rooms each room enters; `files` are (module, text)."""
    entered = {}
    for own, text in files:
        entered.setdefault(room(own), set()).update(room(module) for module in imports(text))
    return {name: others - {name} for name, others in entered.items()}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SRC)))
def test_no_floor_imports_one_above_it_and_no_paper_another(path):
    own = name_of(path)
    for module in imports(path.read_text()):
        assert floor(module) <= floor(own), f"{own} imports {module}"
        if own.startswith("galley.papers.") and module.startswith("galley.papers."):
            assert own.split(".")[2] == module.split(".")[2], f"{own} imports another paper: {module}"


def test_no_two_rooms_import_each_other():
    TopologicalSorter(doors((name_of(path), path.read_text()) for path in FILES)).prepare()  # CycleError names a round of any length


@pytest.mark.parametrize(
    "files",
    [
        [("galley.train.sft", "from galley.evaluate.long import ruler"), ("galley.evaluate", "import galley.train")],
        [("galley.caches.x", "from galley import kernels"), ("galley.kernels.op.y", "def f():\n    from galley.models import z"),
         ("galley.models", "import galley.caches.x")],
    ],
)  # fmt: skip
def test_a_round_is_found_wherever_its_imports_stand(files):
    with pytest.raises(CycleError):
        TopologicalSorter(doors(files)).prepare()
    TopologicalSorter(doors(files[1:])).prepare()


def test_import_galley_brings_in_no_paper():
    text = (SRC / "__init__.py").read_text()
    assert "galley.papers" not in text, "a paper is no part of the library's root: what everybody needs of it goes to models/"
    assert "papers" not in {room(module) for module in imports(text)}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SRC)))
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

import os
import signal
import subprocess

import pytest
from tree import SMOKE, TABLE, Tree, copy_tree, share, tables


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    return share(tmp_path_factory.mktemp("shared"))


@pytest.fixture(scope="session", autouse=True)
def started(request, tmp_path_factory, shared):
    """The tiny scale's uninterrupted run, without mirror and without network, in the background from the first test on."""
    if not any({"finished", "every"} & set(getattr(item, "fixturenames", ())) for item in request.session.items):
        yield None
        return
    tree = copy_tree(tmp_path_factory.mktemp("whole"), tiny=True, shared=shared)
    with (tree.folder / "output").open("w") as output:
        command = ["snakemake", "--cores", "2", TABLE, *SMOKE]
        process = subprocess.Popen(command, cwd=tree.folder, env=tree.env, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
    yield tree, process
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="session")
def finished(started) -> Tree:
    """The uninterrupted run, at its end."""
    tree, process = started
    assert process.wait() == 0, tree.failure((tree.folder / "output").read_text())
    return tree


@pytest.fixture(scope="session")
def every(finished) -> Tree:
    """The same tree with every recipe's table, in one run: models and text that recipes share are there already."""
    code, text = finished.snakemake("--cores", "2", *tables(finished), *SMOKE)
    assert code == 0, finished.failure(text)
    return finished


@pytest.fixture(scope="module")
def clone(tmp_path_factory, shared) -> Tree:
    """A fresh copy of the real tree, for dry runs."""
    return copy_tree(tmp_path_factory.mktemp("clone"), tiny=False, network=True, shared=shared)

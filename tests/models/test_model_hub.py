"""The hub's answers stand in; what is asked of it, and refused before it is, is ours."""

import shutil
from types import SimpleNamespace

import huggingface_hub
import pytest

from galley.artifact import GalleyError
from galley.models.hub import snapshot

COMMIT = "0" * 40


@pytest.fixture
def hub(monkeypatch):
    """A model of 300 kB in files that are wanted, beside 9 MB that are not."""
    sizes = {"model.safetensors": 290_000, "config.json": 10_000, "pytorch_model.bin": 9_000_000}
    siblings = [SimpleNamespace(rfilename=name, size=size) for name, size in sizes.items()]
    fetched = []

    def download(repo, *, revision, local_dir, allow_patterns):
        fetched.append((repo, revision))
        (local_dir / "model.safetensors").touch()

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda self, repo, **more: SimpleNamespace(siblings=siblings))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    return fetched


@pytest.mark.parametrize("revision", [None, "main", "abc", "0" * 39])
def test_only_a_commit_is_fetched(hub, tmp_path, revision):
    with pytest.raises(GalleyError, match=r"revision of owner/name is .*; give the commit \(40 hex digits\)"):
        snapshot("owner/name", revision, tmp_path / "m")
    assert hub == []


@pytest.mark.parametrize("repo", ["owner/na me", "owner/--x", "../x"])
def test_a_name_that_no_hub_has_is_refused(hub, tmp_path, repo):
    with pytest.raises(GalleyError, match=r"the hub has no model .*; give an id such as owner/name"):
        snapshot(repo, COMMIT, tmp_path / "m")
    assert hub == []


def test_a_disk_without_room_is_said_before_the_download(hub, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    for free, fits in ((299_999, False), (300_000, True)):
        monkeypatch.setattr(shutil, "disk_usage", lambda path, free=free: usage._replace(free=free))
        if fits:
            snapshot("owner/name", COMMIT, tmp_path / "m")
            continue
        with pytest.raises(GalleyError, match=r"owner/name at 000000000000 needs 300\.0 kB in .*; make room there"):
            snapshot("owner/name", COMMIT, tmp_path / "m")
        assert list(tmp_path.iterdir()) == []
    assert hub == [("owner/name", COMMIT)] and [p.name for p in (tmp_path / "m").iterdir()] == ["model.safetensors"]

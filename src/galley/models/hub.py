"""A model from the hub at a commit: safetensors only, branches refused.

Source: ours, on huggingface_hub.
"""

from __future__ import annotations

import re
from pathlib import Path

from galley.artifact import GalleyError, atomic_dir, room
from galley.data.revisions import hub_failures

FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]


def snapshot(repo: str, revision: str | None, out: Path) -> None:
    """Download a model repository at a 40-digit commit into `out`; GalleyError for a branch or no connection."""
    if revision is None or not re.fullmatch(r"[0-9a-f]{40}", revision):
        raise GalleyError(
            f"revision of {repo} is {revision!r}; give the commit (40 hex digits) that the hub's page shows: "
            "run `galley pin mha2mla`, or give it with --revision"
        )
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
    from huggingface_hub.utils import filter_repo_objects, validate_repo_id

    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise GalleyError(f"the hub has no model {repo!r}: {str(error).splitlines()[0]}; give an id such as owner/name") from None
    with atomic_dir(out) as part:
        try:
            files = HfApi().model_info(repo, revision=revision, files_metadata=True).siblings or []
            wanted = filter_repo_objects(files, allow_patterns=FILES, key=lambda file: file.rfilename)
            room(out, sum(file.size or 0 for file in wanted), what=f"{repo} at {revision[:12]}")
            snapshot_download(repo, revision=revision, local_dir=part, allow_patterns=FILES)
        except hub_failures(LocalEntryNotFoundError) as error:
            raise GalleyError(
                f"{repo} at {revision[:12]} could not be had from the hub ({type(error).__name__}); "
                f"check the connection and your access, or put its files at {out}"
            ) from None
        if not list(part.glob("*.safetensors")):
            raise GalleyError(f"{repo} at {revision[:12]} has no safetensors; pickled weights are not loaded")

"""Hub commits in one file: recipes/revisions.yaml, repository -> commit, with the date and who says so.

`galley pin` writes it from the hub's own answer; the plan reads it. A branch is no revision: what it points to changes.

Source: ours.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from galley.artifact import GalleyError, write_text
from galley.core_yaml import dumped
from galley.declared import checked, read_yaml
from galley.recipe import Strict, Text

FILE = "revisions.yaml"  # in the recipes' folder
HEAD = """\
# Hub repositories at a commit: what `scale=paper` takes. `galley pin RECIPE` asks the hub and rewrites this file.
# by: who says that the commit is the repository's. A branch or a tag is refused.
"""


class Pin(Strict):
    """A repository at a commit."""

    kind: Literal["model", "dataset"]
    commit: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
    date: datetime.date = Field(strict=False, description="when it was looked up")
    by: Text = Field(description="who says so")


def read_pins(recipes: Path) -> dict[str, Pin]:
    """Return the pinned repositories of a recipes folder, none when there is no file; a GalleyError names what is wrong."""
    path = recipes / FILE
    if not path.exists():
        return {}
    document = read_yaml(path, what="commits of hub repositories", home=f"recipes/{FILE}", empty=True)
    pins: dict[str, Pin] = checked(dict[str, Pin], document, way_out="a pin is a commit, 40 hex digits, as `galley pin RECIPE` writes it")
    return pins


def revision_of(repo: str, pins: dict[str, Pin]) -> str | None:
    """Return a repository's pinned commit; None when it has none."""
    return pins[repo].commit if repo in pins else None


def hub_failures(*others: type[Exception]) -> tuple[type[Exception], ...]:
    """Return what huggingface_hub raises when the hub does not answer or refuses, whichever HTTP library it stands on, and `others`."""
    from huggingface_hub.errors import HfHubHTTPError

    return (*others, OSError, *(base for base in HfHubHTTPError.__mro__ if base.__name__ == "HTTPError"))


def pin_repos(models: Sequence[str], data: Sequence[str], *, recipes: Path, today: datetime.date) -> list[str]:
    """Ask the hub for the current commit of each repository and write them to the file; return a line on each.

    Pins of other repositories stay. GalleyError, with the file as it was, when the hub cannot be asked or a repository is not there.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError

    pins, lines = read_pins(recipes), []
    api = HfApi()
    kinds: list[tuple[str, Literal["model", "dataset"]]] = [*((repo, "model") for repo in models), *((repo, "dataset") for repo in data)]
    for repo, kind in kinds:
        try:
            commit = api.repo_info(repo, repo_type=kind, timeout=30).sha
        except HfHubHTTPError as error:
            status = error.response.status_code if error.response is not None else "no answer"
            way_out = f"check the name and your access (HF_TOKEN). {recipes / FILE} is unchanged"
            raise GalleyError(f"{repo}: the hub answers {status}; {way_out}") from None
        except hub_failures() as error:  # offline mode, no route, a refused connection
            raise GalleyError(
                f"{repo}: the hub at {constants.ENDPOINT} cannot be asked ({type(error).__name__}); connect, unset HF_HUB_OFFLINE or set "
                f"HF_ENDPOINT. {recipes / FILE} is unchanged"
            ) from None
        old = revision_of(repo, pins)
        pins[repo] = Pin(kind=kind, commit=str(commit), date=today, by=f"the hub's API at {constants.ENDPOINT}, branch main")
        lines.append(f"{repo}: {commit}" + ("" if old is None else " (as before)" if old == commit else f" (was {old})"))
    write_pins(pins, recipes)
    return lines


def write_pins(pins: dict[str, Pin], recipes: Path) -> None:
    """Write the file, sorted, atomically."""
    rows = {repo: pin.model_dump(mode="json") for repo, pin in sorted(pins.items(), key=lambda item: item[0].lower())}
    write_text(recipes / FILE, HEAD + dumped(rows))

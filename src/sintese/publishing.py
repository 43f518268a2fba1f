"""Uploading a trained model to the Hugging Face hub."""

from __future__ import annotations

import re
from pathlib import Path

from sintese.errors import Fault, PublishingError

# https://huggingface.co/docs/hub/repositories-getting-started: user or organization, then name.
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def fault(repository: str) -> Fault | None:
    """Return why nothing could be uploaded to `repository`, as far as it shows beforehand."""
    from huggingface_hub import get_token

    where = "tracking.push_to_huggingface"
    if not _REPOSITORY.fullmatch(repository):
        return Fault(where, f"{repository!r} is no repository: write USER/NAME")
    if not get_token():
        return Fault(where, "needs a token with write access: set HF_TOKEN")
    return None


def push(directory: Path, repository: str, *, message: str) -> str:
    """Upload a model directory, card included, and return its address.

    The repository is created private where it does not exist: making a model public is a
    decision of its own, which some corpora's licences forbid.

    Raises:
        PublishingError: the hub refuses, or cannot be reached.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    api = HfApi()
    try:
        url = api.create_repo(repository, private=True, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=str(directory), commit_message=message)
    except (HfHubHTTPError, OSError) as error:
        first = str(error).strip().splitlines()[0]
        raise PublishingError(f"--push_to_huggingface {repository}: {first}") from None
    return str(url)

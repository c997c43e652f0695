"""Published data sets: files that are downloaded once per user, or lie in a folder of the user's own; checked either way.

Where the environment variable `ADAPTAX_DATA` names a folder, files are taken from there alone and nothing is downloaded: for
machines without a network. In it each data set has a folder of its own, ADAPTAX_DATA/omniglot/images_background.npz, say.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from pathlib import Path

from adaptax.errors import AdaptaxError

VARIABLE = "ADAPTAX_DATA"


def user_cache() -> Path:
    """The folder for what can be made or fetched again."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "adaptax"


@dataclasses.dataclass(frozen=True)
class DataFile:
    """One file of a published data set."""

    dataset: str
    """Name of the data set, and of its folder."""
    name: str
    url: str
    """Of one version, which does not change."""
    sha256: str

    def path(self) -> Path:
        """Where the file lies on this machine, its contents as published; downloaded where it has not been yet.

        AdaptaxError where it is missing, damaged or cannot be downloaded."""
        folder = os.environ.get(VARIABLE)
        return self._downloaded() if not folder else self._found(Path(folder) / self.dataset / self.name)

    def _found(self, path: Path) -> Path:
        try:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError:
            raise AdaptaxError(
                f"There is no {path}; put the file from {self.url} there, or unset {VARIABLE} to have it downloaded."
            ) from None
        if digest != self.sha256:
            raise AdaptaxError(
                f"{path} is damaged, or another version: its SHA-256 differs from that of the published file; put the one from "
                f"{self.url} there."
            )
        return path

    def _downloaded(self) -> Path:
        instead = f"or set {VARIABLE} to a folder that holds {self.dataset}/{self.name}"
        try:
            import pooch
        except ImportError:
            raise AdaptaxError(
                f"The data set '{self.dataset}' is downloaded by pooch, which is not installed: pip install pooch, {instead}."
            ) from None
        folder = Path(pooch.os_cache("adaptax")) / "data" / self.dataset
        try:
            return Path(pooch.retrieve(self.url, f"sha256:{self.sha256}", self.name, folder))
        except ValueError:
            why = "what came has another SHA-256 than the published file"
        except OSError as error:  # no network, or no room
            why = f"{type(error).__name__}: {str(error)[:80]}"
        raise AdaptaxError(
            f"{self.name} of the data set '{self.dataset}' could not be had from {self.url} ({why}); try again later, {instead}."
        )

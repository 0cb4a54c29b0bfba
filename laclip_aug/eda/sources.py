"""Where the synonym table comes from: WordNet, the built-in rows, or a user's file; compiled once, kept in a cache.

Compiled WordNet is kept at ``$XDG_CACHE_HOME/laclip-aug/synonyms/KEY.tsv`` (``~/.cache`` by default), where KEY is a
hash of everything that goes into it. The file carries its own checksum and is put in place whole, so several
processes may race, and a damaged file is made again.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from pathlib import Path

from laclip_aug.eda import wordnet
from laclip_aug.eda.synonyms import BUILTIN, SynonymTable, compile_table, read_rows
from laclip_aug.errors import ConfigurationError
from laclip_aug.generation.hashing import cache_folder

logger = logging.getLogger(__name__)

_FORMAT = "laclip-aug synonym table 1"
WITH_BUILTIN = "wordnet+builtin"


def load_table(synonyms: str) -> SynonymTable:
    """The table that ``synonyms`` names; the same words on every machine, and nothing is downloaded.

    ``"builtin"``: the words that come with the package. ``"wordnet"``: WordNet alone, which has to be installed for
    nltk. ``"wordnet+builtin"``: WordNet, where the built-in rows know better what their words mean in captions.
    Anything else is the path of a synonym file (see :func:`laclip_aug.eda.synonyms.read_rows`).

    Raises:
        ConfigurationError: the file cannot be used, or WordNet was asked for and is not installed.
    """
    if synonyms == "builtin":
        return _from_file(BUILTIN, "built-in")
    if synonyms not in ("wordnet", WITH_BUILTIN):
        path = Path(synonyms).expanduser()
        if synonyms == "auto":
            raise ConfigurationError(
                f"the synonyms 'auto' depended on what a machine has; name builtin, wordnet or {WITH_BUILTIN}"
            )
        return _from_file(path, path.name)
    try:
        corpus = wordnet.read_corpus()
    except wordnet.WordNetMissingError as error:
        raise ConfigurationError(
            f"{error}; install it with: python -m nltk.downloader wordnet (NLTK_DATA names the directory), or use the "
            "synonyms 'builtin'"
        ) from error
    return _compiled(corpus, with_builtin=synonyms == WITH_BUILTIN)


def cache_directory() -> Path:
    """The directory of the compiled tables."""
    return cache_folder() / "synonyms"


def _from_file(path: Path, origin: str) -> SynonymTable:
    rows, compounds = read_rows(path)
    return compile_table(rows, compounds, origin)


def _compiled(corpus: dict[str, bytes], with_builtin: bool) -> SynonymTable:
    code = [Path(__file__).with_name(name) for name in ("wordnet.py", "synonyms.py", "inflection.py", "tokens.py")]
    data = [BUILTIN, BUILTIN.with_name("irregular.tsv")]
    digest = hashlib.sha256(f"{_FORMAT}\n{with_builtin}\n{wordnet.corpus_digest(corpus)}\n".encode())
    for path in (*code, *data):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    origin = f"WordNet {wordnet.corpus_digest(corpus)[:12]}" + (" and built-in" if with_builtin else "")
    path = cache_directory() / f"{digest.hexdigest()}.tsv"
    table = _read(path, origin)
    if table is None:
        logger.info("compiling WordNet's synonyms (once; kept at %s)", path)
        table = _compile(corpus, with_builtin, origin)
        _write(path, table)
    return table


def _compile(corpus: dict[str, bytes], with_builtin: bool, origin: str) -> SynonymTable:
    rows, phrases, irregular = wordnet.rows(corpus)
    builtin, compounds = read_rows(BUILTIN)
    if with_builtin:
        known = {row.lemma for row in builtin}
        rows = builtin + [row for row in rows if row.lemma not in known]
    return compile_table(rows, compounds | phrases, origin, irregular)


def _read(path: Path, origin: str) -> SynonymTable | None:
    try:
        header, _, body = path.read_text(encoding="utf-8").partition("\n")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        logger.warning("cannot read %s (%s); compiling the table again", path, error)
        return None
    if header != f"# {_FORMAT} {hashlib.sha256(body.encode()).hexdigest()}":
        logger.warning("%s is damaged; compiling the table again", path)
        return None
    return SynonymTable.from_lines(body.splitlines(), origin)


def _write(path: Path, table: SynonymTable) -> None:
    body = "".join(f"{line}\n" for line in table.lines())
    text = f"# {_FORMAT} {hashlib.sha256(body.encode()).hexdigest()}\n{body}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", newline="\n", dir=path.parent, prefix=".new-", delete=False
        ) as file:
            try:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
                Path(file.name).replace(path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        logger.warning("cannot keep the compiled synonyms at %s (%s); they will be compiled again", path, error)

"""Pivot languages: how an option names the two translators of a round trip.

====================================  =================================================================================
``de``                                the embedded English-German model
``fr=DIR1,DIR2``                      two bilingual models: English to French in DIR1, French to English in DIR2
``fra_Latn=DIR``                      one multilingual model; the name is the language's code in that model
``fra_Latn=DIR,DIR``                  the same, written out
``es=apertium:eng-spa,spa-eng``       the Apertium program, for checks
====================================  =================================================================================
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from laclip_aug.backtranslation.apertium import ApertiumTranslator
from laclip_aug.backtranslation.ctranslate import CTranslate2Model, Decoding
from laclip_aug.backtranslation.translator import Translator
from laclip_aug.errors import ConfigurationError, UnknownNameError

EMBEDDED = {"de": Path(__file__).parent / "embedded" / "en-de"}
"""The models that ship with the package, by pivot language."""


@dataclass(frozen=True)
class Pivot:
    """A pivot language and its two translators: from English (``forward``) and back (``backward``)."""

    name: str
    forward: Translator
    backward: Translator

    def describe(self) -> dict[str, Any]:
        """What decides this pivot's texts."""
        return {"name": self.name, "forward": self.forward.describe(), "backward": self.backward.describe()}

    def provenance(self) -> dict[str, Any]:
        """What its translators ran with."""
        return {"name": self.name, "forward": self.forward.provenance(), "backward": self.backward.provenance()}

    def close(self) -> None:
        """Close both translators."""
        self.forward.close()
        self.backward.close()


def load_pivots(pivots: str | Sequence[str | Pivot], english: str, decoding: Decoding) -> tuple[Pivot, ...]:
    """The pivots that ``pivots`` names, as in the table above; a folder named more than once is loaded once.

    Args:
        pivots: names, or ready :class:`Pivot` objects for translators of one's own. A single string is one name.
        english: the code of English in multilingual models.
        decoding: for all CTranslate2 models.

    Raises:
        ConfigurationError: none, a name twice, or an entry that cannot be read.
        UnknownNameError: a bare name that no embedded model has.
    """
    entries = [pivots] if isinstance(pivots, str) else list(pivots)
    models: dict[Path, CTranslate2Model] = {}

    def model(folder: str | Path) -> CTranslate2Model:
        path = Path(folder).resolve()
        if path not in models:
            models[path] = CTranslate2Model(path, decoding)
        return models[path]

    ready = tuple(entry if isinstance(entry, Pivot) else _pivot(entry.strip(), english, model) for entry in entries)
    names = [pivot.name for pivot in ready]
    if not ready:
        raise ConfigurationError("no pivot language is left; name at least one, such as de")
    for name in names:
        if names.count(name) > 1:
            raise ConfigurationError(f"pivot {name!r} is named twice; keep one of them")
    return ready


def _pivot(entry: str, english: str, model: Any) -> Pivot:
    name, equals, places = entry.partition("=")
    if not re.fullmatch(r"[A-Za-z][A-Za-z_-]*", name):
        raise ConfigurationError(f"pivot {entry!r} has no language name; write for example fr=EN_FR_DIR,FR_EN_DIR")
    if not equals:
        if name not in EMBEDDED:
            raise UnknownNameError("embedded pivot language", name, EMBEDDED)
        return Pivot(name, model(EMBEDDED[name]).translator("en", name), model(EMBEDDED[name]).translator(name, "en"))
    apertium = places.startswith("apertium:")
    both = [place.strip() for place in places.removeprefix("apertium:").split(",")]
    if len(both) > 2 or not all(both) or (apertium and len(both) != 2):
        raise ConfigurationError(f"pivot {entry!r} needs two translators, there and back: {name}=FORWARD,BACKWARD")
    if apertium:
        return Pivot(name, ApertiumTranslator(both[0]), ApertiumTranslator(both[1]))
    return Pivot(name, model(both[0]).translator(english, name), model(both[-1]).translator(name, english))

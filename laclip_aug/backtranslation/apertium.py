"""Translation by the Apertium program, for checks: rule-based, offline, a Debian package; mean quality.

Apertium's modes may merge or split lines, so lines cannot tell captions apart. Each caption becomes a numbered HTML
paragraph, which Apertium carries through untouched; its text is escaped, so it cannot forge one. Only a paragraph that
comes back exactly once and in its place counts; a caption without one is translated again by itself. Apertium is under
the GPL: it is called as a program and nothing of it is part of this package.
"""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from collections.abc import Sequence
from typing import Any

from laclip_aug.backtranslation.translator import Translation, clean
from laclip_aug.errors import ConfigurationError, ModelError

_CHUNK = 1000  # captions a process; starting the pipeline costs about as much as translating a hundred
_PARAGRAPH = re.compile(r'<p id="c(\d+)">(.*?)</p>', re.DOTALL)
_BREAK = re.compile(r'</?p\b|id="c\d+"')


class ApertiumTranslator:
    """A :class:`~laclip_aug.backtranslation.translator.Translator` that runs ``apertium MODE``.

    Args:
        mode: such as ``eng-spa``, as ``apertium -l`` lists them.
        max_characters: longer texts are cut before a word.
        timeout: seconds that one run of the program may take.

    Raises:
        ModelError: no ``apertium`` on the PATH.
        ConfigurationError: it does not have the mode.
    """

    def __init__(self, mode: str, max_characters: int = 1000, timeout: float = 300.0) -> None:
        program = shutil.which("apertium")
        if program is None:
            raise ModelError("no apertium program on the PATH; on Debian: apt-get install apertium apertium-eng-spa")
        self.program, self.mode, self.max_characters, self.timeout = program, mode, max_characters, timeout
        modes = self._run(["-l"], "").split()
        if mode not in modes:
            raise ConfigurationError(f"apertium has no mode {mode!r}; installed: {', '.join(modes) or 'none'}")
        self._version = self._run(["-V"], "").strip()

    def translate(self, texts: Sequence[str], hypotheses: int = 1) -> list[list[Translation]]:
        """One translation of each text (Apertium has no second one); none where no intact frame came back."""
        sources = [self._clip(clean(text)) for text in texts]
        found: dict[int, str] = {}
        for start in range(0, len(sources), _CHUNK):
            found.update(self._framed({i: s for i, s in enumerate(sources[start : start + _CHUNK], start) if s}))
        for i, source in enumerate(sources):
            if source and i not in found:
                found.update(self._framed({i: source}))
        return [[Translation(found[i])] if found.get(i) and hypotheses else [] for i in range(len(sources))]

    def _framed(self, sources: dict[int, str]) -> dict[int, str]:
        """The translations of ``sources`` whose frames came back whole, by number."""
        if not sources:
            return {}
        document = "\n".join(f'<p id="c{i}">{html.escape(text, quote=False)}</p>' for i, text in sources.items())
        output = self._run(["-u", "-f", "html-noent", self.mode], document + "\n")
        back = list(_PARAGRAPH.finditer(output))
        numbers = [int(match[1]) for match in back]
        if numbers != sorted(numbers):
            return {}  # nothing says which text belongs to which number
        ends = [0, *(match.end() for match in back)]
        starts = [*(match.start() for match in back), len(output)]
        stray = [bool(output[end:start].strip()) for end, start in zip(ends, starts, strict=True)]
        intact = {}
        for place, (number, match) in enumerate(zip(numbers, back, strict=True)):
            # words before or after a frame have left it, or its neighbour; a tag within is another frame swallowed
            whole = not (stray[place] or stray[place + 1] or _BREAK.search(match[2]))
            if whole and number in sources and numbers.count(number) == 1:
                intact[number] = clean(html.unescape(match[2]))
        return intact

    def _run(self, arguments: list[str], text: str) -> str:
        try:
            done = subprocess.run(
                [self.program, *arguments], input=text.encode(), capture_output=True, timeout=self.timeout, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ModelError(f"apertium {' '.join(arguments)} failed: {error}; run it by hand to see why") from error
        if done.returncode != 0 and arguments[0] == "-u":
            said = done.stderr.decode(errors="replace").strip()[:500]
            raise ModelError(
                f"apertium {self.mode} ended with status {done.returncode}: {said}; run it by hand to see why"
            )
        return done.stdout.decode(errors="replace")

    def _clip(self, text: str) -> str:
        if len(text) <= self.max_characters:
            return text
        return text[: self.max_characters + 1].rpartition(" ")[0] or text[: self.max_characters]

    def describe(self) -> dict[str, Any]:
        """Engine, mode and limit."""
        return {"engine": "apertium", "mode": self.mode, "max_characters": self.max_characters}

    def provenance(self) -> dict[str, Any]:
        """The program's version."""
        return {"version": self._version}

    def close(self) -> None:
        """Nothing is held between calls."""

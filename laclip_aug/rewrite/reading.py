"""From a whole completion to the one text in it that may be a rewrite.

A chat model thinks aloud, greets, names, quotes, explains and offers more. In this order: invisible characters and
escapes; thinking and special tokens; fences, tags and JSON; then the lines, of which the first that fits the caption
and is no remark is unwrapped. What fits is a matter of the caption's own content words, so there is no list of phrases;
only the names of thinking blocks are known. A completion without any of this passes through as it is.

``first_line`` of :mod:`laclip_aug.generation.backend` does this for in-context completions of base models, whose first
line is the rewrite; that line is unwrapped here too.
"""

from __future__ import annotations

import ast
import html
import json
import re
from collections.abc import Iterator

from laclip_aug.quality.checks import folded
from laclip_aug.quality.letters import MARKS
from laclip_aug.rewrite.about import fits, remarks, senses
from laclip_aug.rewrite.wrappers import unwrap

_INVISIBLE = re.compile("[\u200b\u200e\u200f\u2060\ufeff\u00ad]")
_BREAKS = re.compile("\r\n?|[\u2028\u2029\u0085\x0b\x0c]|<0x0A>|<br ?/?>", re.IGNORECASE)
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][\da-fA-F]{1,6}|[a-zA-Z]\w{1,30});")
_TEX = re.compile(r"\\[a-zA-Z]+\*?\{([^{}]*)\}")
_TEX_MATH = re.compile(r"\\[(\[]|\\[)\]]|\$\$")
_ESCAPE = re.compile(r"\\([nrt])|\\([\"'*_#$&%~`>.()!\[\]-])")

_THINKING = (
    r"(?:[a-z]{1,6}:)?(?:begin_of_|start_of_|start_|begin_)?(?:\w*think\w*|thoughts?|\w*reason\w*|\w*reflect\w*|analy\w+"
    r"|\w*scratch\w*|\w*monologue|plan(?:ning)?|draft|cot|chain_of_thought|rationale|brainstorm\w*|deliberat\w+"
    r"|explanation|notes?|steps?)"
)
_OPEN, _CLOSE = r"(?:<\||<｜|\[\||[<\[◁＜【{])", r"(?:\|>|｜>|\|\]|[>\]▷＞】}])"
_BLOCK = re.compile(
    rf"{_OPEN}(?P<name>{_THINKING})\b[^<>\[\]]*?{_CLOSE}.*?"
    rf"{_OPEN}\s*(?:/\|?|end_of_|end_)\s*(?:begin_of_|start_of_|start_)?[\w:]*{_CLOSE}",
    re.IGNORECASE | re.DOTALL,
)
_THOUGHT_END = re.compile(rf"{_OPEN}\s*(?:/\|?|end_of_|end_)\s*{_THINKING}\s*{_CLOSE}", re.IGNORECASE)
_THOUGHT_START = re.compile(rf"{_OPEN}\s*{_THINKING}\s*{_CLOSE}", re.IGNORECASE)
_CHANNEL = re.compile(r"<\|channel\|?>\s*(\w*).*?(?:<\|message\|>|\n)(.*?)(?=<\||<channel\||\Z)", re.DOTALL)
_SIDE_CHANNEL = re.compile(r"<\|channel>.*?<channel\|>|<unused\d+>\s*thought.*?<unused\d+>", re.DOTALL)
_BARE_CHANNEL = re.compile(r"\A\s*analysis.*?assistant\s?final", re.DOTALL)
_USER_TURN = re.compile(
    r"\[INST\].*?\[/INST\](?=\s*[^\s<\[])|<\|(?:im_start\|>|start_header_id\|>)?user\b.*?(?=<\|)", re.DOTALL
)
_HEADER = re.compile(
    r"<\|start_header_id\|>\w*<\|end_header_id\|>|<\|im_start\|>\s*\w*(?:<\|im_sep\|>)?|<start_of_turn>\s*\w*"
    r"|<\|turn>\s*\w*|<\|start\|>\w*|<\|(?:assistant|system|user|bot|chatbot)\|>"
)
_PIPED = re.compile(r"<[|｜][^<>\n]{0,60}>|<[^<>\n|]{0,60}[|｜]>|\[\|[^\[\]\n]{0,60}\|\]")
_TOKEN = re.compile(
    r"</?s>|<(?:eos|bos|pad|unk|eot|eod|end|sep|cls|stop)>|</?(?:end|start)_?of_?\w+>"
    r"|\[(?:end of text|eos|bos|pad|unk|eot|end|sep|cls|stop)\]"
    r"|\[/?(?:INST|ASSISTANT|SYSTEM_PROMPT|SYS)\]|<</?SYS>>|<unused\d+>|<extra_id_\d+>|<[a-z]+_[a-z_]+>",
    re.IGNORECASE,
)
_FENCE = re.compile(r"(?:```|~~~)(?:[ \t]*[\w+-]*[ \t]*\n)?(.*?)(?:```|~~~|\Z)", re.DOTALL)
_TAGGED = re.compile(
    r"[<\[◁＜【](?P<name>[a-zA-Z][\w:.-]*)(?:\s[^<>\[\]]*)?[>\]▷＞】](?P<inner>.*?)[<\[◁＜【]\s*/\s*(?P=name)\s*[>\]▷＞】]",
    re.DOTALL | re.IGNORECASE,
)
_LONE_TAG = re.compile(r"\A\s*<(?:[a-z][\w:-]*|[A-Z][a-z][\w:-]*)(?:\s[^<>]*)?>|</[a-zA-Z][\w:-]*>\s*\Z")
_FIELD = re.compile(
    r"[\w\"']\s*:\s*(\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*')\s*,?\s*\}?\s*\Z|[\"']\s*:\s*[\"'](.+)\Z", re.DOTALL
)
_QUOTED = re.compile(r"[\"“„«「]([^\"“”„«»「」]{8,})[\"”“»」]")
_WRAPS = re.compile(rf"\A[^\W\d_]?[\w{MARKS}'’ ,-]*[\w{MARKS}'’.]\Z")
_LONGEST_REPLY = 4000
_VISIBLE = re.compile(r"[^\W_]")


def read(text: str, caption: str) -> tuple[str, bool]:
    """The rewrite in a completion, and whether it is what the completion ends with.

    The second tells whether a cut at the token limit has hit the rewrite. The text is empty if there is nothing but
    thinking; where no line fits the caption it is the first line, for the checks to name what is wrong.

    >>> read("<think>Short.</think>Sure:\\n**A dog runs**\\n\\nAnything else?", "a running dog")
    ('A dog runs', False)
    """
    plain = _without_tokens(_without_thoughts(_decoded(text, caption), caption), caption)[:_LONGEST_REPLY]
    lines: list[str] = []
    for part in _parts(plain, caption):
        lines.extend(_lines(part, caption))
    chosen = _choose(lines, caption)
    if not chosen:
        return "", False
    *_, last = plain.rstrip().split("\n")
    _, found, behind = " ".join(last.split()).rpartition(chosen[-12:])
    return chosen, bool(found) and not _VISIBLE.search(behind)


def _decoded(text: str, caption: str) -> str:
    """Without what a transport or a format escaped; characters that do not show go."""
    text = _BREAKS.sub("\n", _INVISIBLE.sub("", text))
    text = _ENTITY.sub(lambda found: found[0] if found[0] in caption else html.unescape(found[0]), text)
    if "\\" in text and "\\" not in caption and not text.lstrip("`json \n").startswith(("{", "[", '"')):
        if boxed := _boxed(text):
            text = boxed
        while (bare := _TEX.sub(r"\1", text)) != text:
            text = bare
        text = _TEX_MATH.sub(" ", text)
        text = _ESCAPE.sub(lambda found: found[2] or {"n": "\n", "r": "\n", "t": " "}[found[1]], text)
    return text


def _boxed(text: str) -> str:
    """The content of the last ``\\boxed{...}``; it may have braces itself."""
    _, mark, rest = text.rpartition("\\boxed{")
    depth = 1 if mark else 0
    for at, character in enumerate(rest):
        depth += (character == "{") - (character == "}")
        if depth == 0:
            return rest[:at]
    return ""


def _without_thoughts(text: str, caption: str) -> str:
    text = _SIDE_CHANNEL.sub("\n", text)
    if "<|channel" in text:
        said = [(name, message) for name, message in _CHANNEL.findall(text) if message.strip()]
        text = next(
            (message for name, message in reversed(said) if name not in ("analysis", "commentary", "thought")), ""
        )
    text = _BARE_CHANNEL.sub("", text)
    while _THOUGHT_END.search(text) and (bare := _BLOCK.sub("\n", text, count=1)) != text:
        text = bare
    *_, text = _THOUGHT_END.split(text)
    found_start = _THOUGHT_START.search(text)
    return text[: found_start.start()] if found_start and found_start[0] not in caption else text


def _without_tokens(text: str, caption: str) -> str:
    """The text between special tokens: the first stretch with a letter, since what follows an end is another turn."""
    text = _HEADER.sub("\n\0", _USER_TURN.sub("\0", text))
    for pattern in (_PIPED, _TOKEN):
        text = pattern.sub(lambda found: found[0] if found[0] in caption else "\0", text)
    return next((part.removeprefix("\n") for part in text.split("\0") if _VISIBLE.search(part)), text.replace("\0", ""))


def _parts(text: str, caption: str) -> Iterator[str]:
    """The pieces of ``text`` in the order in which they may hold the rewrite: fenced, JSON, tagged, the rest."""
    fenced = [found[1] for found in _FENCE.finditer(text)] if "```" in text or "~~~" in text else []
    for piece in fenced:
        if fits(caption, piece):
            yield from _parts(piece, caption)
    if fenced:
        text = _FENCE.sub("\n", text)
    yield from sorted(_json_values(text, caption), key=lambda value: -_overlap(caption, value))
    tagged = [
        found["inner"]
        for found in _TAGGED.finditer(text)
        if f"<{found['name']}>" not in caption and found["inner"].strip()
    ]
    for inner in sorted(tagged, key=lambda inner: -_overlap(caption, inner)):
        if fits(caption, inner) and not _within(inner, text):
            yield from _parts(inner, caption)
    for _ in range(4):
        text = _TAGGED.sub(lambda found: found[0] if f"<{found['name']}>" in caption else found["inner"], text)
    yield _LONE_TAG.sub(lambda found: found[0] if found[0].strip() in caption else "", text)


def _within(inner: str, text: str) -> bool:
    """Whether a tag marks a word in a line, such as ``a <b>red</b> kite``, and no text of its own."""
    line = next((line for line in text.splitlines() if inner in line), "")
    outside = re.sub(r"[<\[◁＜【][^<>\[\]▷＞】]*[>\]▷＞】]", " ", line.replace(inner, " ", 1))
    return (
        "\n" not in inner and len(outside.split()) >= len(inner.split()) and _WRAPS.match(outside.strip()) is not None
    )


def _json_values(text: str, caption: str) -> Iterator[str]:
    """The texts in a JSON value (or Python's way to write one) that ``text`` is or holds; broken JSON is forgiven."""
    start = min((at for at in (text.find("{"), text.find("[")) if at >= 0), default=-1)
    if start < 0:
        body = text.strip()
        if body.startswith('"') and body.endswith('"') and "\\" in body:
            yield from _strings(_loaded(body))
        return
    body = text[start:].strip()
    end = max(body.rfind("}"), body.rfind("]"))
    found = list(_strings(_loaded(body[: end + 1]))) if end > 0 else []
    if not found and (field := _FIELD.search(body)) and body[0] == "{" and "{" not in caption:
        inner = field[1][1:-1] if field[1] else field[2]
        found = [_ESCAPE.sub(lambda m: m[2] or " ", inner).rstrip("\"'} \n")]
    yield from (value for value in found if fits(caption, value) and not _echo(caption, value))


def _loaded(text: str) -> object:
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(text) if len(text) < 10_000 else None
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        return None


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list | set | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)


def _lines(text: str, caption: str) -> list[str]:
    """The lines with a letter; one that a line break cut in two is whole again, and a row of a table is its cells."""
    lines: list[str] = []
    for raw in text.split("\n"):
        line = " ".join(raw.split())
        if line.startswith("|") and line.count("|") > 2 and "|" not in caption:
            lines.extend(cell.strip() for cell in line.split("|") if _VISIBLE.search(cell))
            lines.append("")
        elif lines and line and lines[-1] and _continues(lines[-1], line):
            lines[-1] += f" {line}"
        else:
            lines.append(line)
    return [line for line in lines if line]


def _continues(line: str, following: str) -> bool:
    bare = line.lstrip("\"“'*")
    return (
        bool(bare)
        and bare[0].isupper()
        and following[0].islower()
        and (line[-1].isalnum() or line[-1] in ",'’")
        and _WRAPS.match(line.strip("\"“'*")) is not None
        and len(line.split()) > 2
    )


def _choose(lines: list[str], caption: str) -> str:
    """The first unwrapped line that fits and is no remark; else one that fits, the caption again, or the first line."""
    fallbacks: dict[int, str] = {}
    for line in lines:
        text = unwrap(line, caption)
        if remarks(caption, text) or (text.endswith((":", "：")) and not caption.endswith(":")):
            quoted = [
                q for q in _QUOTED.findall(line) if fits(caption, q) and not _echo(caption, q) and " " in q.strip()
            ]
            if quoted:
                return unwrap(quoted[-1], caption)
            rank = 1 if fits(caption, text) else 3
        elif not fits(caption, text):
            rank = 3
        elif _echo(caption, text):
            rank = 2
        else:
            return text
        if text:
            fallbacks.setdefault(rank, text)
    return fallbacks[min(fallbacks)] if fallbacks else ""


def _echo(caption: str, text: str) -> bool:
    return folded(caption) == folded(text)


def _overlap(caption: str, text: str) -> float:
    """How much of the two texts' content is common to both, 0 to 1; an echo of the caption counts as none."""
    before, after = senses(caption), senses(text)
    return 0.0 if _echo(caption, text) else 2 * len(before & after) / max(1, len(before) + len(after))

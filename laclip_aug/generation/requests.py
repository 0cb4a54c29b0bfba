"""What an OpenAI-compatible server is sent, and what its answers mean."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from laclip_aug.errors import ConfigurationError
from laclip_aug.generation.backend import Completion, Job, Sampling, told

PAPER_SAMPLING: Mapping[str, Any] = MappingProxyType({"top_k": 0, "min_p": 0.0, "samplers": ["temperature", "top_p"]})
"""Fields beyond OpenAI's that make llama-server, vLLM and SGLang draw as the paper does."""

OPTIONAL = ("max_tokens", "top_k", "min_p", "samplers", "seed", "stop", "n")
"""Fields that are left out where a server refuses them by name; what limits or draws a text is then the server's."""

_MOST_TOKENS = 2**31  # of an answer; a server that cannot count says 2**64 - 1
_OWN = ("messages", "prompt", "stream", "n")
_REFUSED = re.compile(
    r"un(?:supported|recogni[sz]ed|known|expected)|not (?:\w+ )?(?:supported|permitted|allowed|recogni[sz]ed)|forbidden"
    r"|does(?: not|n't) (?:support|exist|recogni[sz]e)|extra (?:inputs?|fields?)|additional propert|no such"
    r"|invalid (?:param|field|arg)|cannot find (?:param|field|arg)",
    re.IGNORECASE,
)
_VALUE_REFUSED = re.compile(
    r"must (?:be|not)|(?:should|has to|have to|needs to) be|out of (?:range|bounds)|invalid value|(?:only|is) allowed",
    re.IGNORECASE,
)
_FREE = ("top_k", "min_p", "samplers", "seed", "n")
"""Those that are left out where their value is refused, too; a limit on tokens is for the user to set."""
# What a server knows, which many list after what they do not: "expected one of `model`, `top_k`", "Supported: n, stop".
_KNOWN = re.compile(
    r"(?:supported|allowed|permitted|accepted|valid|known|available|expected)(?: \w+){0,4}?(?: one of|:| are| is)\s.*",
    re.IGNORECASE | re.DOTALL,
)
_CUT = ("length", "max_tokens", "model_length", "content_filter")
"""Reasons to end, in the words of several servers, of texts that are not whole and will not be."""
_BROKEN_OFF = ("abort", "cancelled", "error", "insufficient_system_resource")
"""Of texts that a server was kept from ending this time: one that restarts, or has too much to do."""
_NAMING = ("param", "loc", "field", "parameter", "property", "name")
THOUGHTS_ONLY = (
    "the model used all of its {limit} tokens for thoughts: raise --max-new-tokens, or switch the thoughts off, for "
    "example with --request-field 'chat_template_kwargs={{\"enable_thinking\": false}}'"
)
# A text that the token limit cut within its thoughts begins like the first and has nothing like the second.
_THOUGHT = re.compile(r"\s*[<\[]\|?(?:channel\|>)?[\w:]*(?:think|thought|reason|reflect|analys|scratch)", re.IGNORECASE)
_END = re.compile(r"[<\[]\|?(?:/|end)", re.IGNORECASE)


def request_fields(given: Mapping[str, Any] | Iterable[str]) -> dict[str, Any]:
    """``KEY=JSON`` items as fields; ``KEY=`` leaves the field out of requests (None). A bare word is a text.

    >>> request_fields(["top_k=20", "min_p=", "reasoning_effort=low"])
    {'top_k': 20, 'min_p': None, 'reasoning_effort': 'low'}

    Raises:
        ConfigurationError: an item has no ``=``, its value is broken JSON, or the field is the backend's own.
    """
    fields: dict[str, Any] = {}
    for item in given.items() if isinstance(given, Mapping) else given:
        key, value = item if isinstance(item, tuple) else _parsed(item)
        if key in _OWN:
            raise ConfigurationError(f"the request field {key!r} is set for each request; leave it out")
        fields[key] = value
    return fields


def _parsed(item: str) -> tuple[str, Any]:
    key, equals, value = item.partition("=")
    key = key.strip()
    if not equals or not key:
        raise ConfigurationError(f"the request field {item!r} is no KEY=JSON; write KEY= to leave one out")
    if not value.strip():
        return key, None
    try:
        return key, json.loads(value)
    except ValueError as error:
        if value[0] in '{["':
            raise ConfigurationError(f"the value of the request field {key!r} is no JSON ({error})") from None
        return key, value


@dataclass(slots=True)
class Requests:
    """Makes request bodies, and learns which fields a server refuses."""

    model: str | None
    sampling: Sampling
    fields: Mapping[str, Any]
    dropped: set[str]
    added: dict[str, Any]

    def body(self, jobs: Sequence[Job]) -> tuple[str, bytes]:
        """The path below the base URL and the body that asks for ``jobs``, which share a prompt."""
        job = jobs[0]
        text = job.body.encode("utf-8", "replace").decode("utf-8")
        prompt = job.prefix + job.lead + text + job.tail
        body: dict[str, Any] = {
            "model": self.model,
            "max_tokens": self.sampling.max_new_tokens,
            "temperature": self.sampling.temperature,
            "top_p": self.sampling.top_p,
            "seed": job.seed % 2**31,
            "stream": False,
            # A blank line begins the next caption of the in-context layout: what follows would be thrown away.
            "stop": None if job.chat else ["\n\n"],
            "n": len(jobs) if len(jobs) > 1 else None,
            **self.fields,
            **self.added,
        }
        body["messages" if job.chat else "prompt"] = [{"role": "user", "content": prompt}] if job.chat else prompt
        kept = {key: value for key, value in body.items() if value is not None and key not in self.dropped}
        return "/chat/completions" if job.chat else "/completions", json.dumps(kept).encode("ascii")

    def without(self, sent: bytes, words: str) -> str:
        """Leave out from now on what ``words`` refuse by name; what was left out or is left out already, for a message.

        Empty if nothing of ``sent`` can be left out.
        """
        may = _FREE if not _REFUSED.search(words) and _VALUE_REFUSED.search(words) else OPTIONAL
        if may is OPTIONAL and not _REFUSED.search(words):
            return ""
        given = self.fields.keys() - PAPER_SAMPLING.keys()
        named = [name for name in _named(words) if name in may and f'"{name}":'.encode() in sent and name not in given]
        if not named:
            return ""
        self.dropped.update(named)
        if "max_tokens" in named and "max_completion_tokens" in words:
            self.added["max_completion_tokens"] = self.sampling.max_new_tokens
        return ", ".join(named)

    def read(self, jobs: Sequence[Job], data: bytes) -> list[Completion] | None:
        """The completions in a good answer, as many as it has choices; None if it is not one, or was broken off."""
        try:
            answer = json.loads(data)
            choices = answer["choices"][: len(jobs)]
            ends = [choice.get("finish_reason") for choice in choices]
            used = (answer.get("usage") or {}).get("completion_tokens", 0)
            texts = [self._told(job, choice) for job, choice in zip(jobs, choices, strict=False)]
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return None
        if any(end in _BROKEN_OFF for end in ends):
            return None
        count = used // max(1, len(texts)) if type(used) is int and 0 <= used < _MOST_TOKENS else 0  # True is an int
        found = []
        for job, text, end in zip(jobs, texts, ends, strict=False):
            limited, limit = end in _CUT, self.sampling.max_new_tokens
            no_text = not text.strip() or (_THOUGHT.match(text) and not _END.search(text))
            if limited and no_text and end != "content_filter":
                found.append(Completion(job, THOUGHTS_ONLY.format(limit=limit), "failed", count))
                continue
            line, ended = told(job, text)
            found.append(Completion(job, line, "length" if limited and not ended else "stop", count))
        return found or None

    def _told(self, job: Job, choice: Any) -> str:
        """The text of a choice: plain, in parts, or a refusal in a field of its own; thoughts apart are no text."""
        content = choice["message"].get("content") if job.chat else choice["text"]
        if content is None and job.chat:
            content = choice["message"].get("refusal") or ""
        if isinstance(content, list):
            parts = [part.get("text") if isinstance(part, dict) else part for part in content]
            content = "".join(part for part in parts if isinstance(part, str))
        if not isinstance(content, str):
            raise TypeError(f"a text is {type(content).__name__}")
        return content


def _named(words: str) -> list[str]:
    """The optional fields that a refusal is about: those that its JSON points at, else those that its text names."""
    try:
        pointed = " ".join(_pointed(json.loads(words)))
    except (ValueError, RecursionError):
        pointed = ""
    for text in (pointed, _KNOWN.sub("", words), words):
        # llama.cpp's min_p is minP in other servers
        if found := [name for name in OPTIONAL if re.search(rf"(?<!\w){name.replace('_', '_?')}(?!\w)", text, re.I)]:
            return found
    return []


def _pointed(value: Any, naming: bool = False) -> Iterator[str]:
    if isinstance(value, str) and naming:
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _pointed(item, key in _NAMING)
    elif isinstance(value, list):
        for item in value:
            yield from _pointed(item, naming)

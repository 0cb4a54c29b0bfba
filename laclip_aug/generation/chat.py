"""Wraps a user message in an instruct model's own chat template."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from typing import Any, NoReturn

from laclip_aug.errors import ModelError

# A template that shows today's date would give other rewrites tomorrow.
_TODAY = datetime.datetime(2024, 1, 1)


def chat_renderer(template: str, bos: str, eos: str, model: str) -> Callable[[str], str]:
    """A function from a user message to the prompt that asks for the assistant's answer.

    The template is a Jinja program from the model file; it runs sandboxed. ``bos`` and ``eos`` are the texts of the
    model's tokens, ``model`` is its name for messages. Models that can think aloud are asked not to.

    Raises (the function): ModelError if the template fails.
    """
    from jinja2 import Environment
    from jinja2.ext import Extension, loopcontrols
    from jinja2.nodes import Node
    from jinja2.parser import Parser
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class GenerationTags(Extension):
        """``{% generation %}`` marks the assistant's part for training; here it is only passed through."""

        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Parser) -> list[Node]:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    def refuse(message: str) -> NoReturn:
        raise ValueError(message)

    def render(message: str) -> str:
        try:
            environment: Environment = ImmutableSandboxedEnvironment(
                trim_blocks=True, lstrip_blocks=True, extensions=[GenerationTags, loopcontrols]
            )
            environment.filters["tojson"] = lambda value, **options: json.dumps(
                value, **{"ensure_ascii": False, **options}
            )
            values: dict[str, Any] = {
                "messages": [{"role": "user", "content": message}],
                "bos_token": bos,
                "eos_token": eos,
                "add_generation_prompt": True,
                "enable_thinking": False,
                "raise_exception": refuse,
                "strftime_now": _TODAY.strftime,
            }
            return environment.from_string(template).render(values)
        except Exception as error:  # anything can go wrong in a program from a file
            raise ModelError(f"the chat template of {model} fails ({error}); turn the chat mode off") from error

    return render

"""Which engine runs a model: names for the command line, and what each can be told."""

from __future__ import annotations

from typing import Any

from laclip_aug.errors import ConfigurationError, UnknownNameError
from laclip_aug.generation.backend import Backend, Sampling

LOCAL_OPTIONS = ("adapter", "n_gpu_layers", "n_threads", "n_slots", "n_prefixes", "n_ctx", "reproducible")
HTTP_OPTIONS = ("base_url", "concurrency", "request_fields")
BACKENDS: dict[str, tuple[str, ...]] = {
    "llama.cpp": LOCAL_OPTIONS,
    "llama.cpp-plain": LOCAL_OPTIONS,
    "http": HTTP_OPTIONS,
}
"""Name → the options that it takes besides the model and the sampling."""
_CLASSES = {
    "llama.cpp": "laclip_aug.generation.llamacpp:LlamaCppBackend",
    "llama.cpp-plain": "laclip_aug.generation.plain:PlainLlamaBackend",
}


def open_backend(name: str, model: str | None, sampling: Sampling, options: dict[str, Any]) -> Backend:
    """The engine ``name`` with ``model`` loaded; ``options`` at None keep the engine's defaults.

    llama.cpp runs in a child process; a backend that is made directly runs in this one.

    Raises:
        UnknownNameError: there is no such engine; suggests the nearest.
        ConfigurationError: an option is not one of this engine, or no model is given.
        ModelError, MissingExtraError: see the engines.
    """
    if name not in BACKENDS:
        raise UnknownNameError("backend", name, BACKENDS)
    given = {option: value for option, value in options.items() if value is not None}
    for option in given:
        if option not in BACKENDS[name]:
            fitting = ", ".join(other for other, known in BACKENDS.items() if option in known)
            raise ConfigurationError(
                f"{option} is no option of backend {name!r}; leave it out, or use one of: {fitting}"
            )
    if name == "http":
        from laclip_aug.generation.http import HTTPBackend

        if "base_url" not in given:
            raise ConfigurationError(
                "the http backend needs the server's address; pass --base-url, for example http://127.0.0.1:8080/v1"
            )
        if model is None:
            raise ConfigurationError("the http backend needs the model's name on the server; pass --model NAME")
        return HTTPBackend(given.pop("base_url"), model, sampling, **given)
    if model is None:
        raise ConfigurationError(f"backend {name!r} needs a model; pass --model PATH, hf:REPO/FILE or smollm2")
    from laclip_aug.generation.child import ChildBackend

    return ChildBackend(_CLASSES[name], model, sampling, **given)

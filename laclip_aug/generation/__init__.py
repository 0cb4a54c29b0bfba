"""Prompts in, completions out: backends, the llama.cpp engine, HTTP. Knows no captions."""

"""LLM caption rewriting: prompts, examples, what a model says and how it is judged, captions under way."""

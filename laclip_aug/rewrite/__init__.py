"""LLM caption rewriting by in-context learning: prompt, examples, engine, acceptance, rewriter."""

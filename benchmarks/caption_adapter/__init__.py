"""Recipe: tune a small LLM with LoRA so that it rewrites captions."""

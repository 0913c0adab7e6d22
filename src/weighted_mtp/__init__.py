"""Token-level credit from verified completions, for next-token and multi-token fine-tuning."""

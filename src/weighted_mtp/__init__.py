"""Token-level credit from verified completions, for next-token and multi-token fine-tuning."""

IGNORED = -100
"""The label of a token that is read but not learned."""

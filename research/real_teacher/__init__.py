"""A real teacher's real errors: students of PaLM 2's traces, and who finds the step that went wrong."""

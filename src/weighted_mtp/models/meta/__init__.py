"""Meta's multi-token checkpoints (params.json and consolidated.*.pth): into a Hugging Face directory, and back."""

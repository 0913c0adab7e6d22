"""Credit on the samples of a pretrained model: SmolLM2-135M on two tasks that a rule takes."""

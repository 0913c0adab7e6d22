"""Where token credit pays on a model's own samples: small models, three text tasks, one round and three."""

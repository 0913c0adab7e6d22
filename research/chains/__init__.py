"""The study: many arms on the made task of chains, whose wrong tokens are known."""

"""The package from Python: what the commands do, as functions; `weighted_mtp` itself has them."""

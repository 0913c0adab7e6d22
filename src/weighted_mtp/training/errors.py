"""The one error that a mistake in a setting is. Nothing is imported."""


class ConfigError(ValueError):
    """A user's mistake in a configuration: one line that says what came, what is needed and how to fix it."""

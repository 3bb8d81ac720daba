"""Search mergekit recipes for several goals at once, and keep every trade-off."""

__version__ = "0.1.0"

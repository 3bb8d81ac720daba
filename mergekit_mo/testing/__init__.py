"""Tiny models, trained and untrained, for demonstrations and tests that need no network."""

from mergekit_mo.testing.figures import Figures, figures
from mergekit_mo.testing.tiny import Family, family
from mergekit_mo.testing.untrained import untrained

__all__ = ["Family", "Figures", "family", "figures", "untrained"]

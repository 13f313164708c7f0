"""Satchel: the context your agents carry."""

__version__ = "0.1.0"
__all__ = ["__version__"]

"""p2pcdn."""

__version__ = "0.1.0"

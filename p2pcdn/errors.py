"""Every error that p2pcdn raises on purpose derives from `P2PCDNError`."""

from __future__ import annotations

__all__ = ["ConfigError", "P2PCDNError"]


class P2PCDNError(Exception):
    """Base of all errors raised by p2pcdn."""


class ConfigError(P2PCDNError, ValueError):
    """An option is unknown or has a value that is not allowed.

    The message names the option, the value and what is allowed.
    """

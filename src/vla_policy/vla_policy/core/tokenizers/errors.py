"""What can be wrong with tokens."""

from __future__ import annotations

from vla_core.errors import PolicyError


class TokenError(PolicyError):
    """Tokens don't stand for an action chunk: ids without an action, or a chunk of another length."""

    code = "tokens"

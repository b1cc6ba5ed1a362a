"""Addresses of cameras and servers as they may be shown: without passwords."""

from __future__ import annotations

import re

HIDDEN = "***"
_USER = re.compile(r"(?<=://)[^\s'\"]*@")  # to the last @: passwords hold what they should not
# In paths, too: some cameras take rtsp://HOST/user=admin&password=...
_SECRET = re.compile(
    r"(?i)\b([\w-]*(?:pas|pass|passwd|password|passwort|pwd|psw|token|secret|auth|key|signature|sig))"
    r"=[^&;/?#\s'\"]*"
)


def without_secrets(text: str) -> str:
    """A text with ``***`` in place of the users, passwords and tokens of addresses in it.

    What stands before the last ``@`` of an address goes as a whole, and so do the values of
    ``password=``, ``token=`` and the like.
    """
    return _SECRET.sub(rf"\1={HIDDEN}", _USER.sub(f"{HIDDEN}@", text))

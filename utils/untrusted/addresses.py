"""Addresses of cameras and servers: whether they can be any, and how they may be shown."""

from __future__ import annotations

import re
import urllib.parse

HIDDEN = "***"
_LONGEST = 2000  # characters
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


def is_possible(address: str) -> bool:
    """Whether a server could have it: a host, no blank or line break behind it, not endless.

    Raises:
        ValueError: its port is no number, or a bracket is missing.
    """
    parts, behind = urllib.parse.urlsplit(address), address.rpartition("@")[2]
    if not parts.hostname or parts.port == 0 or len(address) > _LONGEST:
        return False
    try:
        parts.hostname.encode("idna")
    except UnicodeError:
        return False
    return behind.isprintable() and not any(map(str.isspace, behind))

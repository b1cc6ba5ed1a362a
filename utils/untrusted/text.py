"""Texts from outside, made fit for a terminal, a table and a page."""

from __future__ import annotations

_FORMULA = "=+-@"  # what a spreadsheet takes for the start of a formula


def printable(text: str) -> str:
    """``text`` with everything that a terminal would obey, or cannot show, as an escape.

    Line breaks and tabs stay: messages have their own.
    """
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each in "\n\t" else each.encode("unicode_escape").decode()
        for each in text
    )


def shortened(text: str, most: int) -> str:
    """``text`` in at most ``most`` (10 or more) characters: its start and its end."""
    if len(text) <= most:
        return text
    tail = most // 3
    return f"{text[: most - tail - 5]} ... {text[-tail:]}"


def safe_name(name: str) -> str:
    """A name of a file as the name of a video: control characters and the like as ``%1B``.

    So is a first character that would make a formula of it in a spreadsheet. Bytes that are no
    UTF-8 are written as they are, ``%FF``.
    """
    safe = "".join(each if each.isprintable() else _encode(each) for each in name)
    return _encode(safe[0]) + safe[1:] if safe[:1] in tuple(_FORMULA) else safe


def _encode(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogateescape"))

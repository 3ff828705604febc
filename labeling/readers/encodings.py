"""Which encoding bytes are in that are not UTF-8, in words for whoever has to save the file anew."""

import codecs

BOM = codecs.BOM_UTF8
_WIDE = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)


def wide_encoding(head: bytes) -> str:
    """UTF-16 or UTF-32, by the mark at the beginning or by every other byte of plain text being zero; else ""."""
    if b"\x00" not in head:
        return ""
    for mark, name in _WIDE:
        if head.startswith(mark):
            return name
    even, odd = head[0:400:2], head[1:400:2]
    zeros = sorted((even.count(0), odd.count(0)))
    return "UTF-16" if len(head) >= 8 and zeros[0] == 0 and zeros[1] > 0.7 * len(odd) else ""


def why_not_utf8(content: bytes, at: int) -> str:
    """What the bytes are instead, with the place of the first that does not fit (from 1)."""
    where = f"not UTF-8 (byte {at + 1})"
    if any(byte < 32 and byte not in b"\t\r\n\f" for byte in content[:2000]):
        return f"{where}: binary data, not text"
    try:
        word = content[max(0, at - 12) : at + 12].decode("cp1252").strip()
    except UnicodeDecodeError:
        return where
    return f"{where}: it looks like Latin-1 or Windows-1252 (“{word}”); save the file as UTF-8"

"""Formats of input files that are not JSON lines, recognized by their first bytes."""

import re
from typing import Final

# How each format is converted; {0} stands for the name of the file.
_PANDAS: Final = (
    "python -c \"import pandas; pandas.read_{1}('{0}').to_json('rows.jsonl', "
    "orient='records', lines=True)\""
)
_UTF_16: Final = "iconv -f UTF-16 -t UTF-8 {0} > rows.jsonl"

_MAGIC: Final = (
    (b"\x1f\x8b", "gzip", "gunzip -c {0} > rows.jsonl"),
    (b"\x28\xb5\x2f\xfd", "zstd", "zstd -d -c {0} > rows.jsonl"),
    (b"BZh", "bzip2", "bunzip2 -c {0} > rows.jsonl"),
    (b"\xfd7zXZ\x00", "xz", "xz -d -c {0} > rows.jsonl"),
    (b"PK\x03\x04", "ZIP (or Excel)", "unzip -p {0} > rows.jsonl"),
    (b"PAR1", "Parquet", _PANDAS.replace("{1}", "parquet")),
    (b"ARROW1", "Feather", _PANDAS.replace("{1}", "feather")),
    (b"ORC", "ORC", _PANDAS.replace("{1}", "orc")),
    (b"\xff\xfe\x00\x00", "UTF-32", "iconv -f UTF-32 -t UTF-8 {0} > rows.jsonl"),
    (b"\xff\xfe", "UTF-16", _UTF_16),
    (b"\xfe\xff", "UTF-16", _UTF_16),
)
_CSV: Final = (
    'python -c "import csv, json, sys; '
    '[print(json.dumps(row)) for row in csv.DictReader(sys.stdin)]" '
    "< {0} > rows.jsonl"
)
# The names of two columns or more. JSON has no text without quotes.
_COLUMN: Final = r'(?:"[^"]*"|[^\W\d][\w .-]*)'
_HEADER: Final = re.compile(rf"{_COLUMN}(?:[ ]?[,;\t|][ ]?{_COLUMN})+")
# ASCII characters in UTF-16 without a byte order mark.
_HALF_ZERO: Final = re.compile(rb"(?:[\t\n\r -~]\x00|\x00[\t\n\r -~])")


def foreign_format(line: bytes) -> tuple[str, str] | None:
    """
    Return the format of a file that is not JSON lines, and the command to convert it.

    Args:
        line: The first line of the file that is not blank.

    Returns:
        The name of the format, and a shell command in which {0} stands for the name of
        the file; None if the line could be a row.
    """
    for magic, name, command in _MAGIC:
        if line.startswith(magic):
            return name, command
    if _HALF_ZERO.match(line):
        order = "LE" if line[1:2] == b"\x00" else "BE"
        return "UTF-16", _UTF_16.replace("UTF-16", f"UTF-16{order}", 1)
    text = line[:65536].decode("utf-8", "replace").removeprefix("\ufeff").strip()
    if _HEADER.fullmatch(text):
        return "CSV", _CSV
    if text == "{":
        return "indented JSON", "jq -c . {0} > rows.jsonl"
    return None

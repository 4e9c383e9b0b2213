"""Escape untrusted text for terminals, spreadsheets and Markdown, and remove file paths from untrusted text.

Examples of untrusted text are names in run folders and tags of songs. Text in HTML, YAML and JSON files is escaped by other
modules.
"""

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Any, TextIO

# Control characters of terminals, marks that reverse the direction of text, invisible characters, and bytes of file names
# that are not UTF-8. Zero-width joiners are kept, because some languages need them.
UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff\U000e0000-\U000e007f]"
)
# With some language settings, spreadsheets split lines at semicolons also inside quotes.
FORMULA = re.compile(r"""(^|[;\t\n])(?=[\s"']*[=+\-@＝＋－＠])""")
# A path begins at the start of the text or after one of these characters. `://` belongs to a web address.
BEGINS = r"""(?<![^\s=:,(\[{'"])(?!(?<=:)//)(?:file:|~[^/\s,]*|\.\.?)?/"""
PLACE = re.compile(rf"{BEGINS}/*(?:(?:(?!{BEGINS}).)*(?!{BEGINS})/(?=[^\s/,)\]}}'\"]))?", re.DOTALL)
USER = re.compile(r"(?<=://)[^/?#\s]*@")
MARKDOWN = re.compile(r"[\\`*_{}\[\]<>#|~&:@$!]|(?<=www)\.")


def printable(text: str) -> str:
    """Replace control characters of terminals by the character U+FFFD. Line breaks and tabs are kept."""
    return UNPRINTABLE.sub("\ufffd", text)


def one_line(text: str) -> str:
    """Replace control characters of terminals by the character U+FFFD, and each sequence of white space by one blank."""
    return printable(" ".join(text.split()))


def echo(*parts: object, sep: str = " ", end: str = "\n", file: TextIO | None = None, flush: bool = False) -> None:
    """Print like `print`, but replace control characters of terminals by the character U+FFFD."""
    print(printable(sep.join(map(str, parts))), end=end, file=file, flush=flush)


def csv_cell(value: object) -> object:
    """Return the value of a table cell in a form that a spreadsheet program does not run as a formula.

    An apostrophe is added in front of a text that looks like a formula. Numbers are not changed.
    """
    if not isinstance(value, str):
        return value
    return value if _is_number(value) else FORMULA.sub(r"\1'", printable(value))


def write_csv(file: IO[str], columns: Sequence[str], rows: Iterable[Mapping[str, Any] | Sequence[Any]]) -> None:
    """Write a CSV table in which no cell is a formula that a spreadsheet program would run.

    Args:
        file: text file opened with `newline=""`.
        columns: names of the columns.
        rows: mappings from column to cell, or cells in the order of the columns. A missing column is written as an empty cell.
    """
    table = csv.writer(file, lineterminator="\n")
    table.writerow(map(csv_cell, columns))
    for row in rows:
        cells = [row.get(column, "") for column in columns] if isinstance(row, Mapping) else row
        table.writerow(map(csv_cell, cells))


def markdown(text: str) -> str:
    """Escape text as one line of Markdown, so that it cannot contain markup, HTML, links or borders of table cells."""
    return MARKDOWN.sub(r"\\\g<0>", one_line(text))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def redact_paths(value: Any) -> Any:
    """Shorten each file path in nested values to `…/` and the last part of the path, so that the values can be published.

    A path starts at `/`, `~`, `./` or `../`. Folder names may contain blanks, so words between the start of a path and a later
    slash are removed, too. User names and passwords are removed from web addresses.

    Args:
        value: nested dictionaries, lists, texts and numbers.

    Returns:
        A copy with the shortened paths.
    """
    if isinstance(value, Mapping):
        return {redact_paths(key): redact_paths(item) for key, item in value.items()}
    if isinstance(value, list):
        return [redact_paths(item) for item in value]
    return PLACE.sub("…/", USER.sub("", value)) if isinstance(value, str) else value

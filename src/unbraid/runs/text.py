"""Escape text of unknown origin for terminals, spreadsheets and Markdown. Names in files of runs and songs are such text.

HTML is escaped by the templates of the report, YAML and JSON by their writers.
"""

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Any, TextIO

# Control characters of terminals, marks that reverse the direction of text, characters that nobody sees, and bytes of file
# names that are not UTF-8. Joiners are kept, because words of some languages need them.
UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff\U000e0000-\U000e007f]"
)
# Spreadsheets of some languages divide lines at semicolons, whatever the quotes.
FORMULA = re.compile(r"""(^|[;\t\n])(?=[\s"']*[=+\-@＝＋－＠])""")
MARKDOWN = re.compile(r"[\\`*_{}\[\]<>#|~&:@$!]|(?<=www)\.")


def printable(text: str) -> str:
    """Replace characters that a terminal acts on; line breaks and tabs are kept."""
    return UNPRINTABLE.sub("\ufffd", text)


def one_line(text: str) -> str:
    """Replace characters that a terminal acts on, and each run of white space by a space."""
    return printable(" ".join(text.split()))


def echo(*parts: object, sep: str = " ", end: str = "\n", file: TextIO | None = None, flush: bool = False) -> None:
    """Print as `print` does, without characters that a terminal acts on."""
    print(printable(sep.join(map(str, parts))), end=end, file=file, flush=flush)


def csv_cell(value: object) -> object:
    """Return a cell without a formula: text that a spreadsheet takes for one gets an apostrophe in front, numbers are kept."""
    if not isinstance(value, str):
        return value
    return value if _is_number(value) else FORMULA.sub(r"\1'", printable(value))


def write_csv(file: IO[str], columns: Sequence[str], rows: Iterable[Mapping[str, Any] | Sequence[Any]]) -> None:
    """Write a table whose cells no spreadsheet takes for formulas.

    Args:
        file: opened with `newline=""`.
        columns: names of the columns.
        rows: cells by column, or in the order of the columns. A column that a row lacks stays empty.
    """
    table = csv.writer(file, lineterminator="\n")
    table.writerow(map(csv_cell, columns))
    for row in rows:
        cells = [row.get(column, "") for column in columns] if isinstance(row, Mapping) else row
        table.writerow(map(csv_cell, cells))


def markdown(text: str) -> str:
    """Escape one line of text for Markdown, so that it holds no markup, HTML, link or cell border."""
    return MARKDOWN.sub(r"\\\g<0>", one_line(text))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True

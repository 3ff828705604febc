"""Files of rows, whatever holds them: JSON Lines, JSON lists, CSV, TSV, Parquet, Arrow, plain, gzip or zstd.

Every row comes one at a time with its number, or with the reason why it cannot be read. Knows nothing of pairs.
"""

from labeling.readers.compression import is_packed
from labeling.readers.folders import folder_identity, open_folder
from labeling.readers.opening import CONTAINERS, Opened, holds_at_most, open_file
from labeling.readers.raw import LONGEST_ROW, Raw, TooLarge, Unreadable, as_text, storable

__all__ = [
    "CONTAINERS",
    "LONGEST_ROW",
    "Opened",
    "Raw",
    "TooLarge",
    "Unreadable",
    "as_text",
    "folder_identity",
    "holds_at_most",
    "is_packed",
    "open_file",
    "open_folder",
    "storable",
]

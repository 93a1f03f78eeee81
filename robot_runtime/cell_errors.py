"""What can be wrong with a cell file."""


class CellError(ValueError):
    """A cell file cannot be used; the sentence says what to change."""


class UnknownCell(CellError):
    """There is no cell of that name."""


class UnknownCellKey(CellError):
    """A cell file has a key that means nothing."""

"""What keeps the product from starting, in words for the person at the terminal."""


class CannotStart(Exception):
    """The message says what is wrong and what to do; nothing is left running."""

    status = 1  # of the process


class WrongSetting(CannotStart):
    """Another start would fail alike until it is fixed."""

    status = 2

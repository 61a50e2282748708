"""What all errors have in common that people can mend."""


class ExpectedError(Exception):
    """A fault outside the code; its message names what is at fault and says what to do, and needs no traceback."""

"""What a caller must change before any load is sent."""


class BadInput(ValueError):
    """One sentence that names the field and the limit; the commands end with exit code 2."""

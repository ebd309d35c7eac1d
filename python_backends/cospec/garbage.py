"""Python's garbage collector, kept out of a serving process's way.

What a model has loaded, some hundred thousand objects, lives as long as its process; each full collection would look
at all of it while every stream waits.
"""

import gc

YOUNG = 20_000  # objects made and not freed, between two collections; rounds of many requests make Python's 700 at once


def spare_what_is_loaded() -> None:
    """To be called once a process has loaded what it serves from."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG)

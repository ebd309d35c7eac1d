"""Python's garbage collector, kept out of a serving process's way.

What a model has loaded lives as long as its process; each full collection would look at all of it, for up to a fifth of
a second in which every stream waits.
"""

import gc

YOUNG = 20_000  # objects made and not freed, between two collections; Python's own 700 come with every few rounds


def spare_what_is_loaded() -> None:
    """To be called once a process has loaded what it serves from."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG)

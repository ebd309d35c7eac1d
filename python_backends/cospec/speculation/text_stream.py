"""Tokens to text as they come: UTF-8 is never cut, and no part of a stop word ever leaves."""

from collections.abc import Callable, Sequence

Decode = Callable[[Sequence[int]], str]

NEIGHBOURS = 5  # tokens of the prompt, for the output's first
INCOMPLETE = "\ufffd"  # what a decoder shows for bytes that do not yet form a character


class TextStream:
    """Feed one token at a time with `push`; take the text that is safe to send with `take`."""

    def __init__(self, decode: Decode, stop_words: Sequence[str], prompt: Sequence[int] = ()) -> None:
        """`prompt`: the tokens before the first; their text is not this one's."""
        self._decode = decode
        self._stop_words = stop_words
        self._tokens = list(prompt[-NEIGHBOURS:])
        self._start = 0  # decoding restarts here: some tokenizers need a neighbour to place spaces
        self._read = len(self._tokens)  # tokens before this one are in the text
        self._pending = ""
        self.stop_word: str | None = None

    def push(self, token: int) -> bool:
        """Add a token; True when it completes a stop word, whose text is then dropped with all that follows."""
        self._tokens.append(token)
        window = self._decode(self._tokens[self._start :])
        if window.endswith(INCOMPLETE):
            return False
        return self._append(window)

    def take(self) -> str:
        """The text that can be sent: all but a tail that may be the beginning of a stop word."""
        held = 0 if self.stop_word is not None else self._held_length()
        ready = self._pending[: len(self._pending) - held]
        self._pending = self._pending[len(ready) :]
        return ready

    def finish(self) -> str:
        """The rest, incomplete bytes included; call once, at the end."""
        if self.stop_word is None:
            self._append(self._decode(self._tokens[self._start :]))
        rest, self._pending = self._pending, ""
        return rest

    def _append(self, window: str) -> bool:
        known = self._decode(self._tokens[self._start : self._read])
        self._pending += window[len(known) :]
        if len(window) > len(known):  # what shows nothing is no neighbour
            self._start = self._read
        self._read = len(self._tokens)
        return self._cut_at_stop_word()

    def _cut_at_stop_word(self) -> bool:
        found = [(self._pending.find(word), word) for word in self._stop_words if word in self._pending]
        if not found:
            return False
        position, self.stop_word = min(found)
        self._pending = self._pending[:position]
        return True

    def _held_length(self) -> int:
        longest = max((len(word) for word in self._stop_words), default=1) - 1
        for length in range(min(longest, len(self._pending)), 0, -1):
            tail = self._pending[-length:]
            if any(word.startswith(tail) for word in self._stop_words):
                return length
        return 0

"""Text as it comes, against the text as a whole."""

import itertools

import pytest
from cospec.speculation.text_stream import TextStream
from hypothesis import given
from hypothesis import strategies as st


def decode(tokens) -> str:  # type: ignore[no-untyped-def]
    return bytes(tokens).decode("utf-8", errors="replace")


def stream(text: bytes, stop_words: tuple[str, ...] = ()) -> tuple[list[str], TextStream]:
    """Every piece that was sent, byte by byte as if each were a token."""
    sender = TextStream(decode, stop_words)
    pieces = []
    for byte in text:
        stopped = sender.push(byte)
        pieces.append(sender.take())
        if stopped:
            break
    return [*pieces, sender.finish()], sender


@given(st.text())
def test_the_pieces_make_the_whole(text: str) -> None:
    pieces, _ = stream(text.encode())
    assert "".join(pieces) == text


@given(st.text(alphabet="aé漢😀"))
def test_no_character_is_cut(text: str) -> None:
    pieces, _ = stream(text.encode())
    assert "\ufffd" not in "".join(pieces)


def test_bytes_that_never_become_a_character_come_at_the_end() -> None:
    pieces, _ = stream(b"abc" + b"\xe6\xbc")
    assert pieces[2] == "c"
    assert pieces[-1].startswith("\ufffd")


@pytest.mark.parametrize("word", ["END", "E", "漢字", "\n\n"])
def test_text_up_to_the_stop_word_and_no_more(word: str) -> None:
    pieces, sender = stream(f"some text {word} and more".encode(), (word,))
    expected = f"some text {word} and more".split(word)[0]
    assert "".join(pieces) == expected
    assert sender.stop_word == word


def test_a_beginning_of_a_stop_word_is_held_until_it_is_none() -> None:
    pieces, _ = stream(b"a EN b", ("END",))
    assert list(itertools.accumulate(pieces))[2:5] == ["a ", "a ", "a EN "]


def test_the_earliest_of_several_stop_words_counts() -> None:
    pieces, sender = stream(b"one two three", ("three", "two"))
    assert ("".join(pieces), sender.stop_word) == ("one ", "two")


@given(st.text(alphabet="ab"), st.lists(st.text(alphabet="ab", min_size=1, max_size=3), max_size=3))
def test_no_stop_word_is_ever_sent(text: str, words: list[str]) -> None:
    pieces, _ = stream(text.encode(), tuple(words))
    assert not any(word in "".join(pieces) for word in words)


def words(tokens) -> str:  # type: ignore[no-untyped-def]
    """As SentencePiece does: a token is a word with the space before it, which the first one loses; 0 shows nothing."""
    return "".join(f" {chr(token)}" for token in tokens if token).removeprefix(" ")


def test_the_first_token_keeps_the_space_between_it_and_the_prompt() -> None:
    sender = TextStream(words, (), prompt=[ord(letter) for letter in "abcdefgh"])
    sender.push(ord("i"))
    assert sender.take() == " i"


def test_a_token_that_shows_nothing_costs_no_space_behind_it() -> None:
    sender = TextStream(words, ())
    for token in (ord("a"), 0, 0, ord("b"), ord("c")):
        sender.push(token)
    assert sender.take() + sender.finish() == "a b c"

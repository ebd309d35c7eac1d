"""The promise: same seed, same text, whatever speculates, at any temperature, alone or in company."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from cospec_client import Client

DRAFTERS = ("chat", "code", "literature", "math", "medicine")
PROMPTS = {
    "code": "def read_lines(path, encoding):",
    "math": "Tom has 3 boxes with 12 apples each. He eats 5 apples. How many apples are left?",
    "medicine": "What are the symptoms of Asthma ?",
    "chat": "You are a pirate. Describe your ship to a new sailor.",
    "literature": "FIRST CITIZEN:\nWhat news from Rome?",
}


def text(client: Client, prompt: str, temperature: float, speculation: str, max_tokens: int = 40) -> str:
    return client.generate(
        prompt, temperature=temperature, seed=11, max_tokens=max_tokens, speculation=speculation
    ).text


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("domain", PROMPTS)
def test_every_drafter_leaves_the_text_as_it_is(client: Client, domain: str, temperature: float) -> None:
    plain = text(client, PROMPTS[domain], temperature, "off")
    assert len(plain) > 10
    for mode in ("auto", *(f"fixed:{drafter}:4" for drafter in DRAFTERS)):
        assert text(client, PROMPTS[domain], temperature, mode) == plain


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_every_draft_length_leaves_the_text_as_it_is(client: Client, temperature: float) -> None:
    plain = text(client, PROMPTS["math"], temperature, "off")
    for length in range(1, 9):
        assert text(client, PROMPTS["math"], temperature, f"fixed:math:{length}") == plain


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
def test_sixteen_at_once_with_unequal_acceptance_say_what_each_says_alone(client: Client, temperature: float) -> None:
    prompts = list(PROMPTS.values())
    modes = ["auto", "off", "fixed:code:8", "fixed:math:1", "fixed:chat:5"]
    jobs = [(prompts[n % 5], temperature, modes[n // 3 % 5]) for n in range(16)]
    alone = {prompt: text(client, prompt, temperature, "off") for prompt in prompts}
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(lambda job: text(client, *job), jobs))
    assert together == [alone[prompt] for prompt, *_ in jobs]


def test_the_same_seed_gives_the_same_text_and_another_seed_another(client: Client) -> None:
    def sample(seed: int) -> str:
        return client.generate(PROMPTS["chat"], temperature=1.0, seed=seed, max_tokens=40).text

    assert sample(3) == sample(3)
    assert len({sample(seed) for seed in range(4)}) == 4


def test_a_long_prompt_read_in_pieces_changes_nothing(client: Client) -> None:
    prompt = "Once there was a king who had three daughters. " * 50
    assert text(client, prompt, 0.0, "fixed:literature:4") == text(client, prompt, 0.0, "off")

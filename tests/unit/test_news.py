"""What a caller hears of the rounds."""

import asyncio
import math

from scripted_rounds import OFF, ScriptedVerifier, counting, decode, make_loop, make_request


def test_a_caller_that_wants_no_news_yet_hears_only_of_the_end() -> None:
    async def news(wanted_from: float) -> list[bool]:
        task = asyncio.create_task(loop.run())
        sequence = loop.submit(1, make_request(max_tokens=30, mode=OFF), decode)
        sequence.news_from, ends = wanted_from, []
        while not sequence.done:
            await sequence.progress.wait()
            sequence.progress.clear()
            ends.append(sequence.done)
        task.cancel()
        return ends

    for wanted_from, hears_of_rounds in ((-math.inf, True), (math.inf, False)):
        loop = make_loop(ScriptedVerifier(counting), {})
        ends = asyncio.run(asyncio.wait_for(news(wanted_from), 20))
        assert (len(ends) > 1) == hears_of_rounds and ends[-1]

"""A network between two servers: it can be slow, and it can be cut so that nobody hears of it."""

import asyncio
import threading


class TcpProxy:
    """Forwards connections on a port of its own. As a context manager."""

    def __init__(self, target: str) -> None:
        """`target`: host:port."""
        self._host, port = target.rsplit(":", 1)
        self._port = int(port)
        self.delay = 0.0  # seconds, each way
        self.cut = False  # what is sent is lost; connections stay open
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> "TcpProxy":
        self._thread.start()
        server = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._serve, "127.0.0.1", 0), self._loop)
        self.url = f"127.0.0.1:{server.result(10).sockets[0].getsockname()[1]}"
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection(self._host, self._port)
        await asyncio.gather(self._forward(reader, there[1]), self._forward(there[0], writer))

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Each piece `delay` later, and the next ones meanwhile."""
        pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        sending = asyncio.create_task(self._send(pieces, writer))
        try:
            while data := await reader.read(65536):
                if not self.cut:
                    pieces.put_nowait((self._loop.time() + self.delay, data))
        except ConnectionError:
            pass
        pieces.put_nowait((self._loop.time() + self.delay, b""))
        await sending

    async def _send(self, pieces: "asyncio.Queue[tuple[float, bytes]]", writer: asyncio.StreamWriter) -> None:
        while True:
            due, data = await pieces.get()
            await asyncio.sleep(max(0.0, due - self._loop.time()))
            if not data:
                writer.close()
                return
            if not self.cut:
                writer.write(data)

    async def _end(self) -> None:
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

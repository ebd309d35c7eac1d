"""gRPC in a process that gevent has patched. To be called before any channel is made."""

from gevent import get_hub
from grpc.experimental.gevent import init_gevent

MOST_STREAMS = 500  # of one process at a time
THREADS_PER_STREAM = 3


def make_grpc_cooperative() -> None:
    """Without `init_gevent` a patched process hangs with its first stream, and with it alone at about the tenth.

    Every channel waits for its events in a thread of the hub's pool, which has ten; the streams that find none wait,
    and those that have one wait for them.
    """
    init_gevent()
    get_hub().threadpool.maxsize = MOST_STREAMS * THREADS_PER_STREAM

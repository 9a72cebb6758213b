"""amqtt on loopback as a program of its own: `python -m voice_daemon.demo.amqtt PORT`.

A process, because amqtt leaves connections open when it stops.
"""

import asyncio
import signal
import sys

from amqtt.broker import Broker

ANONYMOUS = "amqtt.plugins.authentication.AnonymousAuthPlugin"


async def serve(port: int) -> None:
    """Accept everybody on loopback until SIGTERM."""
    terminated = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminated.set)
    broker = Broker(
        {
            "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
            "plugins": {ANONYMOUS: {"allow_anonymous": True}},
        }
    )
    await broker.start()
    await terminated.wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))

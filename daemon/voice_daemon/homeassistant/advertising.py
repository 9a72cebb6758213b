"""Services that are found by name in the local network: zeroconf, where it is installed."""

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import Final

import structlog

log = structlog.get_logger()

SERVICE_TYPE: Final = "_wyoming._tcp.local."


@contextlib.asynccontextmanager
async def advertised(host: str, ports: Mapping[str, int]) -> AsyncIterator[bool]:
    """Advertise services, by name, while the block runs; False where that cannot be done.

    Whoever cannot be found can still be added by address: nothing here keeps a service from
    running.
    """
    try:
        # An extra: without it the address is typed in once.
        from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf  # noqa: PLC0415 - see above
    except ImportError:
        log.warning(
            "satellite.no_zeroconf",
            remedy="pip install 'voice-daemon[home]', or add the address in Home Assistant",
        )
        yield False
        return
    infos = [
        AsyncServiceInfo(
            SERVICE_TYPE,
            f"{name}.{SERVICE_TYPE}",
            port=port,
            parsed_addresses=_addresses(host),
            server=f"{socket.gethostname().split('.')[0]}.local.",
        )
        for name, port in ports.items()
    ]
    async with contextlib.AsyncExitStack() as stack:
        try:
            zeroconf = AsyncZeroconf(interfaces=_addresses(host))
            stack.push_async_callback(_in_its_own_task, zeroconf.async_close)
            for info in infos:
                await (await zeroconf.async_register_service(info, allow_name_change=True))
        except Exception as error:  # noqa: BLE001 - whatever a network does to it
            log.warning("satellite.not_advertised", reason=f"{type(error).__name__}: {error}")
            yield False
            return
        log.info("satellite.advertised", names=list(ports))
        yield True


async def _in_its_own_task(close: Callable[[], Coroutine[None, None, None]]) -> None:
    """Close what gives up half-way, its sockets still open, in a task that is being cancelled."""
    await asyncio.ensure_future(close())


def _addresses(host: str) -> list[str]:
    """List the IPv4 addresses at which a service on `host` can be reached."""
    if not ipaddress.ip_address(host).is_unspecified:
        return [host]
    from ifaddr import get_adapters  # noqa: PLC0415 - comes with zeroconf

    known = [ip.ip for adapter in get_adapters() for ip in adapter.ips if isinstance(ip.ip, str)]
    addresses = [a for a in known if not ipaddress.ip_address(a).is_loopback]
    return addresses or ["127.0.0.1"]

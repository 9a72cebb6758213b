"""The satellite as Home Assistant meets it, over real sockets."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from wyoming.asr import Transcript
from wyoming.audio import AudioStart
from wyoming.client import AsyncTcpClient
from wyoming.error import Error
from wyoming.info import Describe, Info
from wyoming.ping import Ping, Pong
from wyoming.pipeline import RunPipeline
from wyoming.satellite import PauseSatellite, RunSatellite
from wyoming.snd import Played

from rigs.brokers import HOST, eventually
from support.satellite import (
    OPTIONS,
    PATIENCE_S,
    Hub,
    Running,
    ask,
    attached,
    play,
    recognised,
    serving,
)
from voice_daemon.errors import WyomingError
from voice_daemon.homeassistant.answers import Answers
from voice_daemon.homeassistant.commands import DUPLICATE, SENT, SETTLED, WAITING
from voice_daemon.homeassistant.satellite import Satellite
from voice_daemon.homeassistant.timers import Timers
from voice_daemon.wyoming import framing


def test_it_says_where_it_stands_and_that_it_is_two_services(running: Running) -> None:
    async def scene() -> None:
        satellite = Info.from_event(await ask(running.ports[0], Describe()))
        assert satellite.satellite is not None
        assert (satellite.satellite.name, satellite.satellite.area) == ("Kitchen", "Kitchen")
        assert not satellite.asr
        recogniser = Info.from_event(await ask(running.ports[1], Describe()))
        assert recogniser.satellite is None
        assert [program.requires_external_vad for program in recogniser.asr] == [False]
        pong = await ask(running.ports[0], Ping(text="x"))
        assert Pong.from_event(pong).text == "x"

    play(scene)


def test_each_command_runs_a_pipeline_and_is_handed_out_once(running: Running) -> None:
    async def scene() -> None:
        async with attached(running) as hub:
            for n in range(3):
                assert running.accept(f"command {n}", f"s{n}")
                await hub.until(RunPipeline)
                await hub.take_text()
                assert await recognised(running) == ""
            assert hub.texts == ["command 0", "command 1", "command 2"]
            await asyncio.to_thread(
                eventually, lambda: ("s2", SETTLED) in running.noted, "the last is carried out"
            )
        assert running.reported == []

    play(scene)


def test_commands_in_quick_succession_wait_for_each_other(running: Running) -> None:
    async def scene() -> None:
        async with attached(running) as hub:
            for n in range(3):
                assert running.accept(f"command {n}", f"s{n}")
            for _ in range(3):
                await hub.until(RunPipeline)
                await hub.take_text()
            assert hub.texts == ["command 0", "command 1", "command 2"]

    play(scene)


def test_without_a_home_assistant_nothing_is_taken_over(running: Running) -> None:
    async def scene() -> None:
        assert not running.accept("turn on the light")
        async with attached(running) as hub:
            await hub.client.write_event(PauseSatellite().event())
            await asyncio.to_thread(
                eventually, lambda: not running.satellite.is_attached, "it is paused"
            )
            assert not running.accept("turn on the light")
        assert running.reported == []

    play(scene)


def test_a_command_that_is_not_asked_for_in_time_is_lost_and_never_fires() -> None:
    async def scene() -> None:
        with serving(replace(OPTIONS, ttl_s=0.2)) as running:
            async with attached(running) as hub:
                assert running.accept("open the garage", "late")
                await hub.until(RunPipeline)
                await asyncio.to_thread(eventually, lambda: running.reported, "it is lost")
                assert running.reported == [("not_run", "late")]
                assert await recognised(running) == ""
                assert running.accept("close the garage", "next")
                await hub.until(RunPipeline)
                assert await recognised(running) == "close the garage"

    play(scene)


def test_what_was_waiting_when_home_assistant_went_away_is_told(running: Running) -> None:
    async def scene() -> None:
        async with attached(running) as hub:
            assert running.accept("one", "s1")
            await hub.until(RunPipeline)
            assert running.accept("two", "s2")
        await asyncio.to_thread(eventually, lambda: len(running.reports) == 2, "both are told")
        assert running.reported == [("not_run", "s1"), ("not_run", "s2")]
        async with attached(running):
            assert await recognised(running) == ""

    play(scene)


@pytest.mark.parametrize("speaks", [True, False])
@pytest.mark.parametrize(
    ("ends", "reported"),
    [("lost", [("unconfirmed", "s1")]), ("failed", [("unconfirmed", "s1")]), ("done", [])],
)
def test_a_text_that_was_handed_out_is_in_doubt_until_it_was_carried_out(
    ends: str, reported: list[tuple[str, str]], *, speaks: bool
) -> None:
    async def scene(running: Running) -> None:
        async with attached(running) as hub:
            assert running.accept("one", "s1")
            await hub.until(RunPipeline)
            assert await hub.take_text() == "one"
            if ends == "failed":
                await hub.client.write_event(Error(text="no agent", code="intent-failed").event())
            elif ends == "done":
                await hub.end(speaks=speaks)
                expected = [("s1", how) for how in (WAITING, SENT, SETTLED)]
                await asyncio.to_thread(eventually, lambda: running.noted == expected, "it is over")
        await asyncio.to_thread(
            eventually, lambda: not running.satellite.is_attached, "it is detached"
        )
        await asyncio.to_thread(eventually, lambda: running.reported == reported, "it is told")

    with serving(OPTIONS, speaks=speaks) as running:
        asyncio.run(scene(running))


def test_a_command_that_another_satellite_heard_too_is_left_to_it(speaking: Running) -> None:
    async def scene() -> None:
        async with attached(speaking) as hub:
            assert speaking.accept("one", "s1")
            await hub.until(RunPipeline)
            await hub.client.write_event(Error(text="twice", code=DUPLICATE).event())
            expected = [("s1", WAITING), ("s1", SETTLED)]
            await asyncio.to_thread(eventually, lambda: speaking.noted == expected, "it is left")
            assert await recognised(speaking) == ""
        assert speaking.reported == []

    play(scene)


def test_a_newer_home_assistant_takes_the_place_of_an_older_one(running: Running) -> None:
    async def scene() -> None:
        async with attached(running) as older, attached(running) as newer:
            async with asyncio.timeout(PATIENCE_S):
                assert await older.client.read_event() is None
            assert running.accept("one")
            await newer.until(RunPipeline)
            assert await newer.take_text() == "one"

    play(scene)


def test_another_host_gets_no_text() -> None:
    async def scene() -> None:
        with serving(replace(OPTIONS, host="0.0.0.0")) as running:  # noqa: S104 - two loopback hosts
            async with attached(running) as hub:
                assert running.accept("unlock the door")
                await hub.until(RunPipeline)
                reader, writer = await asyncio.open_connection(
                    HOST, running.ports[1], local_addr=("127.0.0.2", 0)
                )
                start = AudioStart(rate=16_000, width=2, channels=1).event()
                writer.write(framing.encode(start))
                async with asyncio.timeout(PATIENCE_S):
                    event = await framing.read_event(reader)
                writer.close()
                assert event is not None
                assert Transcript.from_event(event).text == ""
                assert await hub.take_text() == "unlock the door"

    play(scene)


def test_a_port_that_is_taken_is_named(running: Running) -> None:
    second = Satellite(
        replace(OPTIONS, port=running.ports[0]),
        note=lambda *_: None,
        report=lambda _: None,
        answers=Answers(None, listen=lambda: None),
        timers=Timers(None, ring=lambda: None, report=lambda _: None),
    )
    with pytest.raises(WyomingError, match="satellite_port"):
        second.start()


def test_bytes_that_are_no_events_end_one_connection_and_no_other(running: Running) -> None:
    async def scene() -> None:
        async with attached(running) as hub:
            _, writer = await asyncio.open_connection(HOST, running.ports[0])
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            await writer.drain()
            assert running.accept("one")
            await hub.until(RunPipeline)
            assert await hub.take_text() == "one"
            writer.close()

    play(scene)


def test_one_that_comes_as_another_goes_is_served(running: Running) -> None:
    async def scene() -> None:
        for n in range(20):
            async with attached(running) as older, AsyncTcpClient(HOST, running.ports[0]) as newer:
                assert running.accept("lost", f"a{n}")
                await older.until(RunPipeline)
                going, coming = older.client.disconnect(), newer.write_event(RunSatellite().event())
                await asyncio.gather(going, coming)
                hub = Hub(running, newer)
                await hub.until(Played)
                assert running.accept("kept", f"b{n}")
                await hub.until(RunPipeline)
                assert await hub.take_text() == "kept"

    play(scene)

"""`daemonctl devices`: the audio inputs of this machine, and which one the daemon would take.

What an input is, and which one a name means, belongs to `voice_daemon.audio`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from voice_daemon._lib.terminal import print_error
from voice_daemon.audio.portaudio import AudioDevice, find_device, list_devices, selectable_names
from voice_daemon.cli.context import Context
from voice_daemon.errors import EXIT_FAILED, EXIT_OK, AudioDeviceError


def run(args: argparse.Namespace, context: Context) -> int:
    """List the inputs; 1 when the configured one is not among them."""
    wanted = context.settings().audio.device
    devices = list_devices()
    chosen: AudioDevice | None = None
    try:
        chosen = find_device(wanted, devices)
    except AudioDeviceError as error:
        print_error(error, context.err)
    if args.json:
        rows = [{**asdict(device), "is_chosen": device == chosen} for device in devices]
        context.print_json({"configured": wanted, "devices": rows})
    else:
        context.out.writelines(f"{line}\n" for line in table(devices, chosen))
    return EXIT_FAILED if chosen is None else EXIT_OK


def table(devices: Sequence[AudioDevice], chosen: AudioDevice | None) -> Iterator[str]:
    """Give a line for each input; a star marks the one that the daemon would take."""
    names = selectable_names(devices)
    width = max(map(len, names), default=0)
    for name, device in zip(names, devices, strict=True):
        star = "*" if device == chosen else " "
        default = "  system default" if device.is_default else ""
        channels = f"{device.channels} channel{'' if device.channels == 1 else 's'}"
        yield (
            f"{star} {name:{width}}  {device.host_api}, {channels}, {device.rate_hz} Hz{default}"
        )

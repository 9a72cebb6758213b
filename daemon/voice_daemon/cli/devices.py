"""`daemonctl devices`: the audio devices of this machine, and which the daemon would take."""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict

from voice_daemon._lib.terminal import print_error
from voice_daemon.audio.portaudio import AudioDevice, find_device, list_devices, selectable_names
from voice_daemon.cli.context import Context
from voice_daemon.errors import EXIT_FAILED, EXIT_OK, AudioDeviceError


def run(args: argparse.Namespace, context: Context) -> int:
    """List inputs and outputs; 1 when the configured input is not among them."""
    audio = context.settings().audio
    inputs, outputs = list_devices(), list_devices(direction="output")
    chosen: AudioDevice | None = None
    try:
        chosen = find_device(audio.device, inputs)
    except AudioDeviceError as error:
        print_error(error, context.err)
    speaker: AudioDevice | None = None
    with suppress(AudioDeviceError):
        speaker = find_device(audio.output, outputs, direction="output")
    if args.json:
        document = {"configured": audio.device, "devices": rows(inputs, chosen)}
        more = {"configured_output": audio.output, "outputs": rows(outputs, speaker)}
        context.print_json({**document, **more})
    else:
        context.out.writelines(f"{line}\n" for line in table(inputs, chosen))
        if outputs:
            context.out.write("\nOutputs:\n")
            context.out.writelines(f"{line}\n" for line in table(outputs, speaker))
    return EXIT_FAILED if chosen is None else EXIT_OK


def rows(devices: Sequence[AudioDevice], chosen: AudioDevice | None) -> list[dict[str, object]]:
    """Give the JSON of devices."""
    return [{**asdict(device), "is_chosen": device == chosen} for device in devices]


def table(devices: Sequence[AudioDevice], chosen: AudioDevice | None) -> Iterator[str]:
    """Give a line for each device; a star marks the one that the daemon would take."""
    names = selectable_names(devices)
    width = max(map(len, names), default=0)
    for name, device in zip(names, devices, strict=True):
        star = "*" if device == chosen else " "
        default = "  system default" if device.is_default else ""
        channels = f"{device.channels} channel{'' if device.channels == 1 else 's'}"
        yield (
            f"{star} {name:{width}}  {device.host_api}, {channels}, {device.rate_hz} Hz{default}"
        )

"""`launchctl`, as far as it speaks with the fake: hands its arguments over, prints the answer."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path


def main(socket_path: str, arguments: list[str]) -> int:
    """Ask the fake launchd and give the exit code."""
    # launchctl resolves paths in the caller's folder.
    absolute = [str(Path(a).absolute()) if a.endswith(".plist") else a for a in arguments]
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(socket_path)
        connection.sendall(json.dumps(absolute).encode())
        reply = b""
        while part := connection.recv(65_536):
            reply += part
    answer = json.loads(reply)
    sys.stdout.write(answer["out"])
    sys.stderr.write(answer["err"])
    return int(answer["code"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))

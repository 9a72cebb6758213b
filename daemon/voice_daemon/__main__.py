"""`python -m voice_daemon`: the same program as `daemonctl`."""

import sys

from voice_daemon.cli.main import main

if __name__ == "__main__":
    sys.exit(main())

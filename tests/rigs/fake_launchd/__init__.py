"""A launchd for tests: a supervising process and a `launchctl`, with launchd's own rules.

The rules are those of the manual pages launchd.plist(5) and launchctl(1); numbers and messages
are those that macOS 14 to 26 were seen to give. `harness.FakeLaunchd` starts it.
"""

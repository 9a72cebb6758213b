"""A Mac for tests, by Apple's own rules: codesign, TCC, Launch Services, Local Network.

The rules are those of Apple's open sources and documentation; each module names its own.
"""

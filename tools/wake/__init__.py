"""Makes what `daemonctl wake train` ships with."""

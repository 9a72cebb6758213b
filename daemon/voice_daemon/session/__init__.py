"""The pure core: from audio blocks to wake words, sessions, partials and finals."""

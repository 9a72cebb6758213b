"""The pinned dependencies of a release, and what is known of them."""

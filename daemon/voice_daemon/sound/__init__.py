"""Sound of our own: what is played, by whom, and how it is kept out of what is heard."""

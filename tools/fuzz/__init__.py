"""Input from others, mutated: every reader takes it or says what is wrong with it."""

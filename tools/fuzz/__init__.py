"""Input from others, spoiled: every reader takes it or says what is wrong with it."""

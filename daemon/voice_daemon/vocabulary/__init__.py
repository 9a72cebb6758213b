"""The home's names and sentences, so that they are heard right.

A document names what is in the home; Home Assistant's sentence templates say what can be asked
of it. In the pause after an utterance the audio is searched for such a sentence, and a rule
decides whether it was said.
"""

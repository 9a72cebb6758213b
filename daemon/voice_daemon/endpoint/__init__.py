"""Speech start and end: voice activity, the endpoint rule, and the hallucination filter."""

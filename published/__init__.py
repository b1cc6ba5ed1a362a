"""Files of the published HF2-VAD code: configurations, weights, chunks, and how they are used."""

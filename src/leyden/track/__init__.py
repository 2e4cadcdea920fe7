"""How a run reports metrics, logs and artifacts, and how they are read back. No torch."""

"""The Python client of the HTTP API, on the standard library: httpx costs three times the CPU (docs/adr/0002)."""

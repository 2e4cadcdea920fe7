"""The command line: one file per command, which parses, calls the client and prints."""

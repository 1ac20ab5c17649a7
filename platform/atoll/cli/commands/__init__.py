"""One module a command; `atoll.cli.program` imports the one that is asked for."""

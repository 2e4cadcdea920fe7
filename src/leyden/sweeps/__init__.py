"""Which trials does a sweep run, how far does each go, which is best? Pure decisions, without clock, files or jobs."""

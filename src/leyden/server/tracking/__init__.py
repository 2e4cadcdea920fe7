"""What do runs say of themselves, now and over time, to many who ask at once?

tail reads what came into the folders of live runs into stats (last values); book is the table of all runs in memory;
query answers filters, sorting and groups from it; curves keeps what charts were drawn from; live tells what changed;
push takes bytes from elsewhere; sealing makes one file of a run that has ended. `Tracker` holds them together.
"""

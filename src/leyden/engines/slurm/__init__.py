"""How do attempts run in a Slurm cluster? commands.py speaks to it, script.py says what runs, engine.py looks."""

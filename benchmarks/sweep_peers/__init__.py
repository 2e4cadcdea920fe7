"""What do sweeps search in the benchmark, and who else searches it?"""

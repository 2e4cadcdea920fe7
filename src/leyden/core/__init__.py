"""Words all parts share: the job spec, resources, states, units, ids and errors. No I/O, no torch."""

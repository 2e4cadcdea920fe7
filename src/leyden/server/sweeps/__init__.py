"""Sweeps: `leyden.sweeps` decides, `leyden.jobs` runs the trials; here both meet the record."""

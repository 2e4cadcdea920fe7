"""What does the control plane cost? A module for each part of benchmarks/control_plane.py."""

"""The scripts are Lightning user code: they are run in a process of their own (run_scripts.py), never imported here."""

collect_ignore_glob = ["scripts/*"]

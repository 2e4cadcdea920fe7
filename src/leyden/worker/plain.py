"""Where do workers come from whose ranks are not forked? `python -m leyden.worker.plain <descriptor>` bears them.

It is a nursery (leyden/worker/nursery.py) without torch: what it bears has imported all that a worker needs, and starts
its ranks as new programs. For jobs that last seconds the start of a worker is most of what they cost.
"""

from leyden.worker import nursery

if __name__ == "__main__":
    import http.client  # noqa: F401  to report with

    control = nursery.control_socket()
    nursery.import_worker()
    nursery.live(control, "leyden.worker.plain")

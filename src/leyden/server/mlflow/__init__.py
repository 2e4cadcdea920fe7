"""MLflow's REST API over runs of Leyden: what its client asks of a tracking server."""

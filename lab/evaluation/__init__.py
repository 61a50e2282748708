"""How good the journeys are: corpora with known truth, baselines and metrics. Knows nothing of Dagster."""

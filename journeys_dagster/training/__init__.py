"""Learning from history: past snapshots computed again, what happened afterwards, and models fitted to it."""

"""What assets are handed: the warehouse, the landing zone, the embedder, and the home folder they live in."""

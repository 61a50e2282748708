"""The page: server-rendered, from files in this package, without scripts."""

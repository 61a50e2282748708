"""Names chosen among keywords, shared phrases and titles of a library: measured, and not in the product."""

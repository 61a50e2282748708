"""Names given by people who write: pairs of a journey's keywords and its title, and what is learnt from them."""

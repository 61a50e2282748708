"""What a notification leads to: an item, a related search, or the journey's own."""

import polars as pl

LEADS = ("item", "related", "keyword")
"""Kinds, the best first: an item, what is searched for by a related journey, or by the journey's heaviest keyword."""
_JOURNEY = ("user_id", "journey_id")


def with_leads(
    decided: pl.DataFrame, *, items: pl.DataFrame, related: pl.DataFrame, keywords: pl.DataFrame
) -> pl.DataFrame:
    """Add ``lead_kind`` and ``lead`` to what is sent: the best kind there is; null elsewhere.

    Parameters
    ----------
    decided : DataFrame
        ``user_id``, ``journey_id`` (null where nothing is sent).
    items, related, keywords : DataFrame
        ``user_id``, ``journey_id``, ``lead``; of `related` the better first.
    """
    kinds = zip(LEADS, (items, related, keywords), strict=True)
    leads = pl.concat(
        frame.select(*_JOURNEY, "lead", lead_kind=pl.lit(kind)).join(
            decided, on=_JOURNEY, how="semi", maintain_order="left"
        )
        for kind, frame in kinds
    ).unique(_JOURNEY, keep="first", maintain_order=True)
    return decided.join(leads, on=_JOURNEY, how="left", maintain_order="left")

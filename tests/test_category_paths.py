"""What items are about as codes and paths of categories, with brands, roots and numbers: two topics stay apart."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from journeys_dagster import infer_journeys

GOOGLE = {
    "Home & Garden > Kitchen & Dining > Kettles": ["Philips", "Bosch", "Tefal"],
    "Home & Garden > Lawn & Garden > Hedge Trimmers": ["Bosch", "Makita", "Stihl"],
    "Sporting Goods > Outdoor Recreation > Tents": ["Decathlon", "Vaude", "Salewa"],
    "Health & Beauty > Oral Care > Toothbrushes": ["Philips", "Braun", "Decathlon"],
}
CODES = {
    "apparel.women.dress": ["zara", "mango", "hm"],
    "apparel.tools.needle": ["prym", "hm", "clover"],
    "furniture.living_room.sofa": ["ikea", "hm", "vitra"],
    "furniture.light.lantern": ["flos", "ikea", "fritz"],
}
HABITS = {"ann": (0, 1), "ben": (0, 3), "cat": (2, 1), "dee": (2, 0)}


def as_path(category: str) -> str:
    return category.replace(" > ", "/")


def as_code(category: str) -> str:
    return category.replace(".", " > ").replace("_", " ").title()


def shop(catalogue: dict[str, list[str]], respelt: object) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Three things of each category, a brand each; everyone looks at two categories, in the morning and at night."""
    items, engagements = [], []
    for number, (category, brands) in enumerate(catalogue.items()):
        for brand in brands:
            path = respelt(category) if brand == brands[1] else category  # type: ignore[operator]
            items.append(
                {
                    "item_id": f"{number} {brand}",
                    "title": f"{brand} {number}",
                    "annotations": [path, brand],
                    "interests": ["All", str(2053013555000000000 + number)],
                }
            )
    for place, (user, habit) in enumerate(HABITS.items()):
        for day in range(3):
            for number, hour in zip(habit, (8, 19), strict=True):
                start = datetime(2025, 6, 1 + day, hour, place, tzinfo=UTC)
                brands = list(catalogue.values())[number]
                engagements += [
                    {
                        "user_id": user,
                        "item_id": f"{number} {brand}",
                        "action": "closeup",
                        "occurred_at": start + timedelta(minutes=4 * turn),
                    }
                    for turn, brand in enumerate(brands)
                ]
    return pl.DataFrame(engagements), pl.DataFrame(items)


@pytest.mark.parametrize(("catalogue", "respelt"), [(GOOGLE, as_path), (CODES, as_code)], ids=["paths", "codes"])
def test_neither_roots_nor_brands_join_two_topics(catalogue: dict[str, list[str]], respelt: object) -> None:
    engagements, items = shop(catalogue, respelt)
    journeys = infer_journeys(engagements=engagements, items=items)
    leaves = [category.replace("_", " ").replace(" > ", ".").lower().split(".")[-1] for category in catalogue]
    for user, habit in HABITS.items():
        of_user = journeys.filter(user_id=user)
        held = [{keyword["keyword"] for keyword in keywords} & {*leaves} for keywords in of_user["keywords"]]
        assert sorted(map(sorted, held)) == sorted([leaves[number]] for number in habit), user
    names = {name.lower() for name in journeys["name"]}
    assert not names & {"all", "home & garden", *(brand.lower() for brands in catalogue.values() for brand in brands)}
    assert not any(name[0].isdigit() for name in names)

"""Names of journeys: one each, never blank, never twice for a user, the best keyword first."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from journeys_dagster.inference.members import number_journeys
from journeys_dagster.inference.naming import display_name, name_journeys, readability, with_centrality
from journeys_dagster.settings import NamingSettings, Settings

SCHEMA = {
    "user_id": pl.String,
    "journey_id": pl.String,
    "keyword": pl.String,
    "weight": pl.Float64,
    "centroid_similarity": pl.Float64,
}
OUTPUT = {
    "user_id": pl.String,
    "journey_id": pl.String,
    "name": pl.String,
    "keyword": pl.String,
    "centrality": pl.Float64,
    "name_score": pl.Float64,
}

Row = tuple[str, str, str, float, float]


PARTS = ("closeness", "centrality", "frequency", "keyword", "search", "readability", "stability")
"""In the order in which they are added up."""


def name(
    *rows: Row,
    closeness: float = 0.5,
    weight: float = 0.3,
    readable: float = 0.2,
    former: pl.DataFrame | None = None,
    **more: pl.Series | float,
) -> pl.DataFrame:
    """Names by three parts, or with more of them: columns by name, and the weight of each as ``name_weight``."""
    weights = {part: more.pop(f"{part}_weight", 0.0) for part in ("centrality", "frequency", "search", "stability")}
    centrality = more.pop("centrality", pl.Series([0.0] * len(rows), dtype=pl.Float64))
    columns = {"events": pl.lit(1), "is_searched": pl.lit(value=True)} | more
    chosen = NamingSettings.model_validate(
        {
            **{f"{part}_weight": part_weight for part, part_weight in weights.items()},
            "closeness_weight": closeness,
            "keyword_weight": weight,
            "readability_weight": readable,
        }
    )
    frame = pl.DataFrame(list(rows), schema=SCHEMA, orient="row")
    known = frame.select("keyword").with_columns(centrality=centrality).unique("keyword", maintain_order=True)
    return name_journeys(*number_journeys(frame.with_columns(**columns)), chosen, known=known, former=former)


def names(*rows: Row) -> dict[str, str]:
    return dict(name(*rows).select("journey_id", "name").iter_rows())


def readability_of(*keywords: str) -> list[float]:
    return pl.DataFrame({"keyword": keywords}).select(readability(pl.col("keyword"))).to_series().to_list()


def display(*keywords: str) -> list[str]:
    return pl.DataFrame({"keyword": keywords}).select(display_name(pl.col("keyword"))).to_series().to_list()


PLAIN = ["sofa", "kitchen renovation", "crème brûlée", "summer dresses for women"]
FAULTY = {
    "address": "https://www.example.com/kitchen",
    "address without scheme": "www.example.com",
    "domain": "example.com",
    "domain of a country": "example.co.uk",
    "part number": "wr55x-10025",
    "number": "22423",
    "date": "2025-06-30",
    "letter": "a",
    "marks": "!!! ???",
    "emoji": "😀",
    "sentence": "how to paint a kitchen wall white",
    "endless word": "x" * 41,
}


@pytest.mark.parametrize("plain", PLAIN)
@pytest.mark.parametrize("faulty", FAULTY.values(), ids=FAULTY.keys())
def test_plain_words_read_better_than(faulty: str, plain: str):
    worse, better = readability_of(faulty, plain)
    assert 0.0 <= worse < better <= 1.0


@pytest.mark.parametrize("address", [address for kind, address in FAULTY.items() if "address" in kind or "dom" in kind])
def test_an_address_reads_worse_than_other_text_with_as_many_letters(address: str):
    worse, better = readability_of(address, "-" + address.replace(".", "-"))
    assert worse < 0.5 * better


@pytest.mark.parametrize("keyword", [*PLAIN, "हिन्दी खाना", "ภาษาไทย", "北欧", "家具", "収納 アイデア", "кухня", "مطبخ"])
def test_words_of_any_script_read_perfectly(keyword: str):
    assert readability_of(keyword) == [1.0]


@given(st.lists(st.text(min_size=1), min_size=1))
def test_readability_lies_between_0_and_1(keywords: list[str]):
    assert all(0.0 <= value <= 1.0 for value in readability_of(*keywords))


def test_names_start_with_a_capital_and_stay_as_they_are_otherwise():
    assert display("sofa", "éclair", "iPhone case", "12v lamp", "😀 party", "日本", "!") == [
        "Sofa",
        "Éclair",
        "IPhone case",
        "12v lamp",
        "😀 party",
        "日本",
        "!",
    ]


def test_the_score_is_the_weighted_mean_of_closeness_weight_and_readability():
    journey = [("u", "j", "men's sofa", 2.0, 0.5), ("u", "j", "c0uch", 4.0, -0.5)]
    heavier = ("u", "k", "tent", 99.0, 1.0)
    row = name(*journey, heavier, closeness=0.6, weight=0.2, readable=0.4).row(0, named=True)
    assert row["name_score"] == pytest.approx((0.6 * 0.5 + 0.2 * 2 / 4 + 0.4 * (8 / 9) ** 2) / 1.2)
    assert (row["name"], row["keyword"]) == ("Men's sofa", "men's sofa")


def test_the_score_has_the_same_bits_however_many_threads_there_are():
    numbers = range(3_000)
    frame = pl.DataFrame({"keyword": [f"sofa {number}" for number in numbers]}).with_columns(
        journey=pl.int_range(pl.len()),
        weight=pl.lit(1.0),
        events=pl.lit(1),
        is_searched=pl.lit(value=True),
        centroid_similarity=pl.Series([number / 3_000 for number in numbers]),
    )
    journeys = pl.DataFrame({"user_id": [f"u{number:04}" for number in numbers], "journey_id": "j"})
    chosen = Settings().naming
    found = name_journeys(journeys, frame, chosen)
    shares = {name: getattr(chosen, f"{name}_weight") for name in PARTS}
    total = sum(shares.values())
    readable = dict(zip(frame["keyword"], readability_of(*frame["keyword"]), strict=True))
    for row in found.iter_rows(named=True):
        closeness = int(row["user_id"][1:]) / 3_000
        parts = (closeness, 0.0, 1.0, 1.0, 1.0, readable[row["keyword"]], 0.0)
        expected = 0.0
        for part, name in zip(parts, PARTS, strict=True):
            expected += part * (shares[name] / total)
        assert row["name_score"] == min(expected, 1.0)


def test_closeness_below_zero_counts_as_zero_and_no_score_leaves_its_range():
    assert name(("u", "j", "22423", 1.0, -0.7))["name_score"].to_list() == [pytest.approx(0.3)]
    assert name(("u", "j", "sofa", 1.0, 1.0000001))["name_score"].to_list() == [1.0]
    # These shares of 1 add up to more than 1 in floating point.
    perfect = name(("u", "j", "sofa", 3.0, 1.0), closeness=0.55, weight=0.93, readable=0.04)
    assert perfect["name_score"].to_list() == [1.0]


@pytest.mark.parametrize(
    ("keywords", "best"),
    [
        ([("sofa", 1.0, 0.9), ("couch", 1.0, 0.8)], "Sofa"),  # closer
        ([("sofa", 1.0, 0.8), ("couch", 3.0, 0.8)], "Couch"),  # heavier
        ([("b22423-x", 1.0, 0.8), ("couch", 1.0, 0.8)], "Couch"),  # more readable
        ([("sofa", 1.0, 0.8), ("couch", 1.0, 0.8)], "Couch"),  # equally good: the alphabet decides
    ],
)
def test_the_best_keyword_names_the_journey(keywords: list[tuple[str, float, float]], best: str):
    assert names(*(("u", "j", *keyword) for keyword in keywords)) == {"j": best}


def test_where_two_want_one_name_the_heavier_gets_it_and_the_other_takes_its_next_best():
    found = names(
        ("u", "a", "istanbul", 1.0, 0.9),
        ("u", "a", "hagia sophia", 1.0, 0.5),
        ("u", "b", "ıstanbul", 5.0, 0.9),
        ("u", "b", "bosphorus", 5.0, 0.5),
        ("v", "c", "istanbul", 1.0, 0.9),
    )
    assert found == {"a": "Hagia sophia", "b": "Istanbul", "c": "Istanbul"}


def test_of_equally_heavy_journeys_the_smaller_id_gets_the_name():
    found = names(
        ("u", "b", "istanbul", 1.0, 0.9), ("u", "a", "ıstanbul", 1.0, 0.9), ("u", "a", "bosphorus", 1e-9, 0.1)
    )
    assert found["a"] == "Istanbul"


def test_journeys_without_a_name_of_their_own_are_numbered():
    found = names(
        ("u", "a", "istanbul", 3.0, 0.9),
        ("u", "b", "ıstanbul", 2.0, 0.9),
        ("u", "c", "istanbul (2)", 1.0, 0.9),
        ("v", "d", "istanbul", 3.0, 0.9),
        ("v", "e", "ıstanbul", 1.0, 0.9),
        ("v", "f", "Istanbul", 2.0, 0.9),
    )
    assert {journey: found[journey] for journey in "abc"} == {"a": "Istanbul", "b": "Istanbul (3)", "c": "Istanbul (2)"}
    assert {journey: found[journey] for journey in "def"} == {"d": "Istanbul", "e": "Istanbul (3)", "f": "Istanbul (2)"}


@pytest.mark.parametrize("keyword", ["!!!", "…", "😀", "👩🏽‍🚀", "#", "–", "٣", "\u0301", "ﷺ", "ß"])
def test_a_keyword_without_letters_is_still_a_name(keyword: str):
    found = name(("u", "j", keyword, 1.0, 0.0))
    assert found["name"][0].strip()
    assert found["keyword"].to_list() == [keyword]
    assert 0.0 <= found["name_score"][0] <= 1.0


def test_no_journeys_need_no_names():
    found = name()
    assert found.is_empty()
    assert dict(found.schema) == OUTPUT


SAME = [("u", "j", "couch", 1.0, 0.8), ("u", "j", "sofa", 1.0, 0.8)]


@pytest.mark.parametrize(
    ("part", "column"),
    [
        ("centrality", pl.Series([0.2, 0.9])),
        ("events", pl.Series([3, 7])),
        ("is_searched", pl.Series([False, True])),
    ],
)
def test_of_two_alike_the_more_central_more_frequent_or_searched_one_wins(part: str, column: pl.Series):
    weight = {"centrality": "centrality_weight", "events": "frequency_weight", "is_searched": "search_weight"}[part]
    assert name(*SAME)["name"].to_list() == ["Couch"]
    assert name(*SAME, **{part: column, weight: 0.1})["name"].to_list() == ["Sofa"]


def test_a_name_stays_unless_another_is_clearly_better():
    was = pl.DataFrame({"user_id": ["u"], "journey_id": ["j"], "keyword": ["sofa"]})
    assert name(*SAME, former=was, stability_weight=0.1)["name"].to_list() == ["Sofa"]
    better = [("u", "j", "couch", 1.0, 1.0), ("u", "j", "sofa", 1.0, 0.5)]
    assert name(*better, former=was, stability_weight=0.1)["name"].to_list() == ["Couch"]
    gone = was.with_columns(keyword=pl.lit("settee"))
    assert name(*SAME, former=gone, stability_weight=0.1)["name"].to_list() == ["Couch"]


def test_below_zero_the_weight_speaks_against_a_keyword():
    heavier = [("u", "j", "couch", 3.0, 0.8), ("u", "j", "sofa", 1.0, 0.8)]
    assert name(*heavier, weight=-0.1)["name"].to_list() == ["Sofa"]


@pytest.mark.parametrize("unreadable", ["https://www.example.com/sofa", "22423", "wr55x-10025"])
def test_an_address_or_a_code_names_a_journey_only_where_it_has_nothing_else(unreadable: str):
    rows = [("u", "j", unreadable, 9.0, 1.0), ("u", "j", "sofa", 1.0, 0.1)]
    assert name(*rows)["keyword"].to_list() == ["sofa"]
    assert name(rows[0])["keyword"].to_list() == [unreadable]


def test_centrality_is_the_usual_for_keywords_that_are_not_known():
    keywords = pl.DataFrame({"keyword": ["sofa", "rug"]})
    known = pl.DataFrame({"keyword": ["rug"], "centrality": [0.9], "usual": [0.6]})
    assert with_centrality(keywords, known, usual=0.6)["centrality"].to_list() == [0.6, 0.9]
    assert with_centrality(keywords, known.clear(), usual=0.6)["centrality"].to_list() == [0.6, 0.6]
    assert with_centrality(keywords, known.clear(), usual=0.0)["centrality"].to_list() == [0.0, 0.0]


def test_weights_that_are_all_zero_are_refused():
    with pytest.raises(ValueError, match="add up to 0"):
        name(("u", "j", "sofa", 1.0, 1.0), closeness=0.0, weight=0.0, readable=0.0)


# Pairs that look the same once their first letter is a capital, and names that numbering could give.
ALIKE = [
    "istanbul",
    "Istanbul",
    "ıstanbul",
    "istanbul (2)",
    "ıstanbul (2)",
    "istanbul (3)",
    "s",
    "ſ",
    "ss",
    "ß",
    "SS",
    "ﬁ",
    "fi",
]
ALIKE += ["FI", "ǆ", "ǅ", "Ǆ", "k", "\u212a", "å", "\u212b", "!", "😀"]


@st.composite
def adversarial_users(draw: st.DrawFn) -> list[Row]:
    rows: list[Row] = []
    for user in draw(st.lists(st.sampled_from(["ann", "bob"]), unique=True)):
        keywords = draw(st.lists(st.sampled_from(ALIKE) | st.text("sß(2) ", min_size=1), unique=True))
        for keyword in keywords:
            # Ids with a common beginning and equal weights leave nothing to lean on.
            journey = f"abcdef{draw(st.integers(0, 5))}"
            rows.append((user, journey, keyword, draw(st.sampled_from([1.0, 1.0, 2.0])), draw(st.floats(-1, 1))))
    return rows


@given(adversarial_users(), st.randoms())
def test_every_journey_has_one_name_that_no_other_of_the_user_has(rows: list[Row], random):
    found = name(*rows)
    assert dict(found.schema) == OUTPUT
    journeys = sorted({row[:2] for row in rows})
    assert found.select("user_id", "journey_id").rows() == journeys
    assert found.select("user_id", "name").is_unique().all()
    for user, journey, given_name, keyword, _, score in found.iter_rows():
        assert (user, journey, keyword) in {row[:3] for row in rows}
        assert given_name.startswith(display(keyword)[0])
        assert 0.0 <= score <= 1.0
    shuffled = random.sample(rows, len(rows))
    assert_frame_equal(name(*shuffled), found, check_exact=True)
    for user in {row[0] for row in rows}:
        alone = name(*(row for row in rows if row[0] == user))
        assert_frame_equal(alone, found.filter(user_id=user), check_exact=True)


def test_a_user_gets_the_same_bits_without_the_others():
    rows = [(f"user {n:03}", "j", f"sofa {'x1' * (n % 9)}", 1.0 + n, n / 150) for n in range(150)]
    together = name(*rows, closeness=0.6, weight=0.7, readable=0.9)
    alone = pl.concat([name(row, closeness=0.6, weight=0.7, readable=0.9) for row in rows])
    assert_frame_equal(alone, together, check_exact=True)

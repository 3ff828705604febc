"""How much a pair is like pairs that the judge got wrong, told by a small sentence encoder.

The encoder (WordLlama: averaged word vectors, 256 numbers a text) is an optional package with its weights inside it and
needs no network. It knows what a text is about, hardly what it says of it.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from genrm_engine.errors import EngineError

BLOCK = 512  # rows of a matrix product
CHARACTERS = 2000  # what a text is about shows at its start
PRIOR = 1.0  # the overall error rate counts as much as this many neighbours of similarity 1

Vectors = NDArray[np.float32]


class Encoder(Protocol):
    def embed(self, texts: list[str], *, batch_size: int) -> Vectors: ...


def available() -> bool:
    """Whether the encoder's package is installed; does not load it."""
    return find_spec("wordllama") is not None


def likeness(texts: Mapping[str, str], wrong: Mapping[str, bool], *, k: int = 10) -> dict[str, float]:
    """For each item how often the judge was wrong on its nearest neighbours, 0 to 1.

    ``wrong`` says it of labelled items (one without a text is left out). Of an item's ``k`` nearest labelled neighbours
    other than itself, by cosine, it is the share of wrong ones, weighted by similarity and drawn towards the overall
    error rate, the more the less alike they are. Without labelled items all are 0.

    EngineError where the encoder is not installed.
    """
    items = sorted(texts)
    vectors = encode([texts[item] for item in items])
    labelled = np.array([place for place, item in enumerate(items) if item in wrong], dtype=np.intp)
    errors = np.array([wrong[items[place]] for place in labelled], dtype=np.float64)
    return dict(zip(items, map(float, shares(vectors, labelled, errors, k=k)), strict=True))


def encode(texts: Sequence[str], *, characters: int = CHARACTERS) -> Vectors:
    """A vector of length 1 for each text, (n, 256), from its first characters.

    An empty text is the zero vector, which is like nothing. EngineError where the encoder is not installed.
    """
    if not available():
        raise EngineError("likeness to pairs that the judge got wrong needs the package wordllama, which is missing")
    starts = [text[:characters] for text in texts]
    once = sorted(set(starts), key=lambda start: (len(start), start))  # a batch is padded to its longest text
    found = _encoder().embed(once, batch_size=32)
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    places = {start: place for place, start in enumerate(once)}
    vectors: Vectors = (found / np.maximum(lengths, 1e-9)).astype(np.float32)[[places[start] for start in starts]]
    return vectors


def shares(vectors: Vectors, labelled: NDArray[np.intp], errors: NDArray[np.float64], *, k: int) -> NDArray[np.float64]:
    """The likeness of every row of ``vectors``, of which those at ``labelled`` have ``errors`` (1: the judge erred)."""
    if k < 1:
        raise EngineError("k must be at least 1")
    if not len(labelled):
        return np.zeros(len(vectors))
    blocks = [_block(vectors, start, labelled, errors, k) for start in range(0, len(vectors), BLOCK)]
    return np.clip(np.concatenate(blocks), 0, 1) if blocks else np.zeros(0)


def _block(
    vectors: Vectors, start: int, labelled: NDArray[np.intp], errors: NDArray[np.float64], k: int
) -> NDArray[np.float64]:
    rows = np.arange(start, min(start + BLOCK, len(vectors)))
    alike = np.maximum(vectors[rows] @ vectors[labelled].T, 0).astype(np.float64)  # (rows, labelled)
    alike[rows[:, None] == labelled] = 0  # nobody is their own neighbour
    nearest = np.argsort(-alike, axis=1, kind="stable")[:, :k]
    weights = np.take_along_axis(alike, nearest, axis=1)
    share: NDArray[np.float64] = ((weights * errors[nearest]).sum(axis=1) + PRIOR * errors.mean()) / (
        weights.sum(axis=1) + PRIOR
    )
    return share


@cache
def _encoder() -> Encoder:
    with _logging_as_it_was():
        import wordllama  # type: ignore[import-untyped]
    try:  # the folder is named because the loader would look for the tokenizer elsewhere
        encoder: Encoder = wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True)
    except FileNotFoundError as error:
        raise EngineError(f"the package wordllama lacks its weights: {error}") from error
    return encoder


@contextmanager
def _logging_as_it_was() -> Iterator[None]:
    """The package sets up the root logger when it is imported; that is for the program to do."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)

"""Sentence embeddings by a model in a local folder, for the extra `embed`.

They are computed once; nothing is ever downloaded.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.contract.errors import PipelineError
from stages.contract.params import Embedding
from stages.contract.progress import progress

BLOCK = 512  # texts that are embedded at a time


def embedded(texts: list[str], options: Embedding) -> NDArray[np.float32]:
    """One vector per text, (n, d).

    Raises PipelineError without the library, or where no model can be loaded.
    """
    folder = Path(options.model)
    if not options.model or not folder.is_dir():
        remedy = (
            "download the model once and name its folder; nothing is downloaded while the pipeline"
            " runs"
        )
        raise PipelineError(
            "params.yaml features.embedding.model", f"no folder {options.model!r}", remedy
        )
    encode = _encoder(options.library, str(folder))
    made = []
    with progress("embeddings", len(texts), "text") as bar:
        for start in range(0, max(len(texts), 1), BLOCK):
            block = texts[start : start + BLOCK]
            made.append(np.asarray(encode(block), dtype=np.float32))
            bar.update(len(block))
    vectors = np.concatenate(made)
    if not np.isfinite(vectors).all():
        raise PipelineError(folder, "the model returned NaN or infinity", "use another model")
    return vectors


@lru_cache(maxsize=1)
def _encoder(library: str, folder: str) -> Any:
    """The function from texts to vectors."""
    try:
        if library == "model2vec":
            from model2vec import StaticModel

            return StaticModel.from_pretrained(folder).encode
        from sentence_transformers import SentenceTransformer

        return SentenceTransformer(folder, device="cpu", local_files_only=True).encode
    except ImportError as error:
        what = f"features.kind is embedding, and {library} is not installed ({error})"
        raise PipelineError(
            "params.yaml features.embedding.library", what, f"pip install {library}"
        ) from error
    except (OSError, ValueError, KeyError) as error:
        raise PipelineError(
            folder, f"no {library} model ({error})", "name a folder that holds one"
        ) from error

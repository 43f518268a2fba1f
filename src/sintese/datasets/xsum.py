"""XSum: BBC articles and one-sentence summaries, in English."""

from __future__ import annotations

from dataclasses import replace

from sintese.config import DataConfig
from sintese.datasets import Source, files, hub

DESCRIPTION = "XSum: 226,711 BBC articles with one-sentence summaries, English"
HUB_ID = "EdinburghNLP/xsum"
CITATION = """\
@inproceedings{narayan-etal-2018-dont,
  title = {Don't Give Me the Details, Just the Summary! Topic-Aware Convolutional Neural Networks
           for Extreme Summarization},
  author = {Narayan, Shashi and Cohen, Shay B. and Lapata, Mirella},
  booktitle = {Proceedings of EMNLP 2018},
  year = {2018},
  doi = {10.18653/v1/D18-1206},
}"""


def read(config: DataConfig) -> Source:
    """Read XSum from the hub, or from `data.path` in any form that source `files` reads.

    Raises:
        ConfigError: `data.path` is not there.
        DataError: the hub does not answer.
    """
    if config.path:
        source = files.read(config)
    else:
        repository = hub.open_repository(config.hub_id or HUB_ID, revision=config.revision)
        source = hub.source(repository, revision=config.revision, subset=config.subset)
    return replace(
        source,
        licence="not stated by its authors (BBC articles): research use",
        citation=CITATION,
        language="en",
        text_column="document",
        name="xsum",
    )

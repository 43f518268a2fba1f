"""The whole road in one readable function: corpus, fine-tune, track, evaluate, register, promote.

`check` finds every fault of a recipe before any work; `run` does the work.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from sintese import (
    datasets,
    evaluation,
    features,
    metrics,
    models,
    publishing,
    reports,
    training,
    tuning,
)
from sintese.baselines import Lead, LeadWords
from sintese.config import ProtocolName, RunConfig, cross_faults, planned_steps, warmup_fault
from sintese.datasets import Corpus
from sintese.engines.hf import HfEngine
from sintese.errors import ConfigError, Fault, TrainingError, UsageError, did_you_mean
from sintese.evaluation import Evaluation
from sintese.metrics import PROTOCOLS
from sintese.promotion import PromotionDecision, Standing, decide
from sintese.recipes import draft
from sintese.summarizer import Summarizer, load
from sintese.tracking import registry, runs
from sintese.tracking.registry import CHALLENGER, CHAMPION, Version

Say = Callable[[str], None]
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What a run left behind.

    Attributes:
        run_id: MLflow's run id.
        tracking_uri: where it is recorded.
        directory: checkpoints and the exported model, on this machine.
        corpus: what it was trained on.
        evaluation: of the trained model on the test split.
        baselines: of LEAD and, where asked for, the untuned base model, on the same rows.
        version: the registered version, or None when the recipe does not register.
        decision: of the gate, or None when there was nothing to decide.
    """

    run_id: str
    tracking_uri: str
    directory: Path
    corpus: Corpus
    evaluation: Evaluation
    baselines: tuple[Evaluation, ...]
    version: Version | None
    decision: PromotionDecision | None


def check(
    raw: Mapping[str, Any], overrides: Mapping[str, str], *, faults: list[Fault] | None = None
) -> tuple[RunConfig, Corpus]:
    """Resolve a recipe and load its corpus, or say everything that is wrong with both.

    Args:
        raw: the recipe, as `config.read_recipe` returns it.
        overrides: dotted field → text, from `config.parse_overrides`.
        faults: found already, to be reported with the others.

    Raises:
        ConfigError: with every fault of recipe and corpus together.
        UsageError: the corpus cannot be read, and nothing else is wrong.
    """
    config, found = draft(raw, overrides)
    found = [*(faults or []), *found]
    corpus, rows = None, 0
    if config.data.source not in datasets.available():
        hint = did_you_mean(config.data.source, datasets.available())
        found.append(Fault("data.source", f"unknown corpus {config.data.source!r}{hint}"))
    else:
        try:
            corpus = datasets.load(config.data)
            rows = len(corpus.splits["train"])
        except ConfigError as error:
            found.extend(error.faults)
            rows = datasets.most_train_rows(config.data)
        except UsageError as error:
            if not found:
                raise
            found.append(Fault("", str(error)))
    repository = config.tracking.push_to_huggingface
    if repository and (fault := publishing.fault(repository)):
        found.append(fault)
    if corpus is not None and not rows:
        found.append(
            Fault("data.source", f"{corpus.name} is for evaluation only: nothing to train on")
        )
    if rows and not config.training.max_steps and (fault := warmup_fault(config, rows)):
        found.append(fault)
    if found:
        raise ConfigError(found)
    assert corpus is not None and not cross_faults(config)
    return config, corpus


def run(config: RunConfig, corpus: Corpus, *, say: Say = _log.info) -> Outcome:
    """Fine-tune, evaluate and register as `config` says, all of it on one MLflow run.

    Args:
        config: checked, see `check`.
        corpus: what `check` loaded.
        say: receives one line a stage, for the person watching.

    Raises:
        SinteseError: the run then ends FAILED and nothing is registered.
    """
    uri = runs.connect(config.tracking.tracking_uri)
    with runs.start(config) as current:
        say(f"run {current.name} ({current.id}) in experiment {current.experiment} at {uri}")
        current.recipe(config)
        current.corpus(corpus)
        directory = Path(config.training.output_dir) / current.id
        trained = _train(config, corpus, current, directory, say=say)
        say(f"evaluating on {len(corpus.splits['test'])} test documents")
        measured, *baselines = _evaluate(config, corpus, trained.model_directory)
        description = trained.description + reports.result_description(
            [measured, *baselines], protocol=config.evaluation.protocol, training=trained.result
        )
        card = reports.model_card(config, corpus, [measured, *baselines], training=trained.result)
        (trained.model_directory / "README.md").write_text(card, encoding="utf-8")
        scores = _log_evaluation(current, config, measured, baselines)
        for warning in reports.warnings(measured, trained.features):
            say(f"warning: {warning}")
        model_uri = registry.log_model(
            trained.model_directory, generation=config.generation, metrics=scores
        )
        version, decision = None, None
        if config.tracking.register_model:
            version = registry.register(
                model_uri,
                config.tracking.registered_model_name,
                tags=_lineage(config, corpus, measured, baselines),
                description=description,
            )
            registry.set_alias(version, CHALLENGER)
            say(f"registered {version.name} version {version.number}, alias {CHALLENGER}")
            if config.gate.enabled:
                decision = _promote(config, corpus, version, measured, baselines, say=say)
                verdict = reports.decision_description(decision)
                description += "\n\n" + verdict
                current.dictionary(asdict(decision), "promotion.json")
        current.describe(description)
    # After the run has ended: a hub that cannot be reached takes nothing back of what was done.
    if repository := config.tracking.push_to_huggingface:
        url = publishing.push(
            trained.model_directory, repository, message=f"Síntese run {current.id}"
        )
        say(f"uploaded to {url}")
    return Outcome(
        run_id=current.id,
        tracking_uri=uri,
        directory=directory,
        corpus=corpus,
        evaluation=measured,
        baselines=tuple(baselines),
        version=version,
        decision=decision,
    )


@dataclass(frozen=True)
class _Trained:
    result: training.TrainResult
    features: Mapping[str, features.Features]
    model_directory: Path
    description: str


def _train(
    config: RunConfig, corpus: Corpus, current: runs.Run, directory: Path, *, say: Say
) -> _Trained:
    import transformers

    transformers.set_seed(config.training.seed)
    tokenizer = models.load_tokenizer(config.model)
    base = models.load_base(config.model, tokenizer, seed=config.training.seed)
    base_digest = models.digest(base)
    tokenized = {
        split: features.tokenize(
            corpus.texts(split), corpus.summaries(split), tokenizer=tokenizer, config=config.model
        )
        for split in ("train", "validation")
    }
    model = tuning.prepare(base, config.tuning)
    weights = tuning.count(model)
    precision = models.choose_precision(config.training)
    description = reports.run_description(config, corpus, tokenized)
    current.describe(description)
    current.params(
        {
            "model/parameters": weights.total,
            "model/trainable_parameters": weights.trainable,
            "model/base_digest": base_digest[:16],
            "training/precision_chosen": f"{precision.name}: {precision.reason}",
            "training/planned_steps": planned_steps(config, len(corpus.splits["train"])),
            "data/rows_train": len(corpus.splits["train"]),
            "data/rows_validation": len(corpus.splits["validation"]),
            "data/rows_test": len(corpus.splits["test"]),
            "data/licence": corpus.licence,
        }
    )
    for split, found in tokenized.items():
        cut = found.truncation
        current.metrics(
            {
                f"data/{split}_texts_truncated_share": cut.sources_cut,
                f"data/{split}_summaries_truncated_share": cut.targets_cut,
                f"data/{split}_unknown_token_share": cut.unknown_share,
            }
        )
    say(
        f"training {weights.trainable:,} of {weights.total:,} weights in {precision.name} "
        f"({precision.reason}) on {len(corpus.splits['train'])} documents"
    )
    result = training.fit(
        model,
        tokenizer,
        train=tokenized["train"],
        validation=tokenized["validation"],
        references=corpus.summaries("validation"),
        config=config,
        precision=precision,
        output_dir=directory,
        report=current.metrics,
    )
    for name, figure in reports.curves(result.history).items():
        current.figure(figure, f"curves/{name}")
    if config.tuning.method == "lora":
        model.save_pretrained(directory / "adapter")
        current.files(directory / "adapter", "adapter")
    merged = tuning.merge(model)
    if models.digest(merged) == base_digest:
        raise TrainingError("training changed no weight of the base model: nothing to register")
    model_directory = directory / "model"
    models.save(
        merged,
        tokenizer,
        model_directory,
        manifest=models.Manifest(
            base_model=config.model.base_model,
            base_digest=base_digest,
            source_prefix=config.model.source_prefix,
            max_source_length=config.model.max_source_length,
            generation=config.generation,
        ),
    )
    say(f"trained {result.steps} steps in {result.seconds:.0f} s; model in {model_directory}")
    return _Trained(result, tokenized, model_directory, description)


def _evaluate(config: RunConfig, corpus: Corpus, model_directory: Path) -> list[Evaluation]:
    """Measure the trained model, then the baselines."""
    # LEAD at the length people write is the hardest of its kind where texts are long.
    words = round(fmean(metrics.generated_lengths(corpus.summaries("train"))))
    leads: list[Summarizer] = [Lead(config.evaluation.lead_sentences), LeadWords(words)]
    # From the exported files, not from memory: what is measured is what will be served.
    engine = load(model_directory, batch_size=config.training.per_device_eval_batch_size)
    found = [_on_test(engine, corpus, progress=True)]
    if config.evaluation.untuned:
        found.append(_on_test(_untuned(config), corpus, progress=True))
    return found + [_on_test(lead, corpus) for lead in leads]


def _untuned(config: RunConfig) -> HfEngine:
    tokenizer = models.load_tokenizer(config.model)
    return HfEngine(
        name="untuned",
        model=models.load_base(config.model, tokenizer, seed=config.training.seed).eval(),
        tokenizer=tokenizer,
        source_prefix=config.model.source_prefix,
        max_source_length=config.model.max_source_length,
        generation=config.generation,
        batch_size=config.training.per_device_eval_batch_size,
    )


def _on_test(summarizer: Summarizer, corpus: Corpus, *, progress: bool = False) -> Evaluation:
    return evaluation.evaluate(
        summarizer,
        ids=corpus.ids("test"),
        texts=corpus.texts("test"),
        references=corpus.summaries("test"),
        digest=corpus.split_digest("test"),
        progress=progress,
    )


def _log_evaluation(
    current: runs.Run, config: RunConfig, measured: Evaluation, baselines: Sequence[Evaluation]
) -> dict[str, float]:
    protocol = config.evaluation.protocol
    scores = {
        f"test/{name}/{kind}": value
        for name, kinds in measured.means().items()
        for kind, value in kinds.items()
    }
    scores["test/generated_words"] = measured.generated_words
    scores["test/empty_share"] = measured.empty_share
    scores["test/texts_truncated_share"] = measured.truncated_share or 0.0
    scores["test/capped_share"] = measured.capped_share or 0.0
    baseline = {
        f"test_{other.name}/{name}/{kind}": value
        for other in baselines
        for name, kinds in other.means().items()
        for kind, value in kinds.items()
    }
    current.metrics(scores | baseline)
    table = reports.samples(measured, baselines, limit=config.evaluation.samples, protocol=protocol)
    current.table(table, "samples.json")
    current.dictionary(
        {found.name: reports.summary(found) for found in (measured, *baselines)}, "evaluation.json"
    )
    return scores


def _promote(
    config: RunConfig,
    corpus: Corpus,
    version: Version,
    measured: Evaluation,
    baselines: Sequence[Evaluation],
    *,
    say: Say,
) -> PromotionDecision:
    protocol = config.evaluation.protocol
    standing = registry.by_alias(version.name, CHAMPION)
    champion = None
    if standing is not None:
        name = f"{CHAMPION} v{standing.number}"
        champion = _recorded(config, standing, name, digest=measured.digest)
        if champion is None:
            say(f"measuring {name} on this test split, on which it was not measured before")
            engine = load(registry.fetch(standing.uri))
            champion = _standing(config, _on_test(engine, corpus, progress=True), name=name)
    decision = decide(
        _standing(config, measured, name=f"version {version.number}"),
        leads=[
            _standing(config, lead, name=lead.name)
            for lead in baselines
            if lead.name.startswith("lead-")
        ],
        champion=champion,
        gate=config.gate,
    )
    registry.tag(
        version,
        {
            "gate.promoted": str(decision.promoted).lower(),
            "gate.reason": decision.reason,
            "gate.protocol": _protocol(protocol),
        },
    )
    if decision.promoted:
        registry.set_alias(version, CHAMPION)
    say(f"{'promoted to ' + CHAMPION if decision.promoted else 'not promoted'}: {decision.reason}")
    return decision


def _standing(config: RunConfig, measured: Evaluation, *, name: str) -> Standing:
    protocol = config.evaluation.protocol
    score = measured.rouge[protocol][config.gate.metric].mean
    return Standing(name, measured.digest, _protocol(protocol), score)


def _recorded(config: RunConfig, version: Version, name: str, *, digest: str) -> Standing | None:
    """Return the champion's standing as its tags tell it, if it was measured on the same data."""
    protocol = config.evaluation.protocol
    score = version.tags.get(f"test.{protocol}.{config.gate.metric}")
    same_data = version.tags.get("test.digest") == digest
    same_protocol = version.tags.get(f"test.{protocol}.version") == PROTOCOLS[protocol].version
    if score is None or not (same_data and same_protocol):
        return None
    return Standing(name, digest, _protocol(protocol), float(score))


def _lineage(
    config: RunConfig, corpus: Corpus, measured: Evaluation, baselines: Sequence[Evaluation]
) -> dict[str, str]:
    """Return the tags of a version: where it comes from and how it was measured."""
    tags = {
        "base_model": config.model.base_model,
        "tuning": config.tuning.method,
        "data.name": corpus.name,
        "data.digest": corpus.digest,
        "data.licence": corpus.licence,
        "test.digest": measured.digest,
        "test.documents": str(len(measured.rows)),
    }
    for name, kinds in measured.means().items():
        tags[f"test.{name}.version"] = PROTOCOLS[name].version
        # repr keeps all digits: the next gate compares against this very number.
        tags |= {f"test.{name}.{kind}": repr(value) for kind, value in kinds.items()}
    for other in baselines:
        for name, kinds in other.means().items():
            tags[f"test.{other.name}.{name}.rouge1"] = f"{kinds['rouge1']:.2f}"
    return tags


def _protocol(name: ProtocolName) -> str:
    return f"{name} ({PROTOCOLS[name].version})"

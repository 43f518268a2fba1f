"""Every error knows its HTTP status and exit code, and says what was probably meant."""

from __future__ import annotations

import pytest

from sintese import errors
from sintese.errors import ConfigError, Fault, MissingExtraError, UnknownNameError, did_you_mean


def subclasses(base: type[Exception]) -> list[type[Exception]]:
    return [base, *(deeper for sub in base.__subclasses__() for deeper in subclasses(sub))]


@pytest.mark.parametrize(
    "error",
    # Another module may have private ones, to tell apart what it catches itself.
    [e for e in subclasses(errors.SinteseError) if e.__module__ == errors.__name__],
    ids=lambda e: e.__name__,
)
def test_every_error_has_a_status_and_an_exit_code(error):
    assert 400 <= error.http_status < 600
    assert error.exit_code in (1, 2)
    assert error.__doc__
    if issubclass(error, errors.UsageError):
        # The caller's mistake: never a 5xx, and the exit code of a usage error.
        assert error.http_status < 500 and error.exit_code == 2


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (errors.SinteseError, 500, 1),
        (errors.UsageError, 422, 2),
        (errors.ConfigError, 422, 2),
        (errors.UnknownNameError, 404, 2),
        (errors.DataError, 422, 2),
        (errors.InputError, 422, 2),
        (errors.ModelError, 500, 1),
        (errors.TrainingError, 500, 1),
        (errors.TrackingError, 502, 1),
        (errors.ComparisonError, 409, 2),
        (errors.MissingExtraError, 500, 2),
    ],
)
def test_statuses_and_exit_codes(error, status, code):
    assert (error.http_status, error.exit_code) == (status, code)


def test_a_fault_says_where_and_what():
    assert str(Fault("training.learning_rate", "0 should be above 0")) == (
        "training.learning_rate: 0 should be above 0"
    )
    assert str(Fault("", "the file is empty")) == "the file is empty"


def test_a_config_error_holds_every_fault():
    faults = [Fault("a", "one"), Fault("b", "two")]
    error = ConfigError(faults)
    assert error.faults == tuple(faults)
    assert str(error) == "a: one; b: two"


def test_an_unknown_name_answers_with_the_closest_and_with_what_there_is():
    error = UnknownNameError("dataset", "temaryo", ("xsum", "temario", "amostra"))
    assert str(error) == (
        "unknown dataset 'temaryo'; did you mean 'temario'? (available: amostra, temario, xsum)"
    )
    assert error.available == ("xsum", "temario", "amostra")


def test_a_missing_extra_is_an_import_error_with_the_pip_line():
    error = MissingExtraError("ctranslate2", "fast", "the engine ct2")
    assert isinstance(error, ImportError)
    assert str(error) == "the engine ct2 needs ctranslate2: pip install 'sintese[fast]'"


@pytest.mark.parametrize(
    ("name", "available", "tail"),
    [
        ("xsun", ["xsum", "xlsum"], "; did you mean 'xsum'? (available: xlsum, xsum)"),
        ("zzz", ["xsum"], " (available: xsum)"),
        ("zzz", [], ""),
        # Without its section, or under a wrong one, the last word still finds the field.
        ("lernin_rate", ["training.learning_rate"], "; did you mean 'training.learning_rate'?"),
    ],
)
def test_did_you_mean(name, available, tail):
    assert did_you_mean(name, available).startswith(tail)


def test_long_lists_are_not_recited():
    names = [f"field_{number:02}" for number in range(30)]
    assert did_you_mean("field_07x", names) == "; did you mean 'field_07'?"
    unknown = did_you_mean("qqqqqq", names)
    assert unknown.startswith(" (available: field_00, ") and unknown.endswith("field_23, …)")

"""Passwords, tokens and keys stay out of every text that leaves."""

from __future__ import annotations

import base64

import pytest

from icp_ml.errors import ConfigError
from icp_ml.redact import without_secrets


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("no answer from http://ann:s3cret@host:5000/api", "s3cret"),
        ("postgresql+psycopg2://ann:s3cret@host/db failed", "s3cret"),
        ("two: mysql://a:s3cret@h/d, https://b:s3cret@h", "s3cret"),
        ("https://s3cret-token@host/api", "s3cret-token"),
        ("GET /api?access_token=s3cret&x=1", "s3cret"),
        ("https://bucket/key?X-Amz-Signature=s3cret&X-Amz-Credential=s3cret", "s3cret"),
        ("blob?sv=2022&sig=s3cret%3D", "s3cret"),
        ("Authorization: Bearer s3cret.s3cret", "s3cret"),
        ("Authorization: Basic YW5uOnMzY3JldA==", "YW5uOnMzY3JldA=="),
        ("dsn: host=h password=s3cret dbname=d", "s3cret"),
        ("key AKIAIOSFODNN7EXAMPLE is refused", "AKIAIOSFODNN7EXAMPLE"),
    ],
)
def test_secrets_are_hidden_where_they_show_themselves(text: str, secret: str) -> None:
    assert secret not in without_secrets(text)
    assert "***" in without_secrets(text)


def test_what_the_environment_holds_is_hidden_wherever_it_turns_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ann")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hunter22")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "aws-s3cret")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://bob:p%40ss/word@host/")
    encoded = base64.b64encode(b"ann:hunter22").decode()
    hidden = without_secrets(f"hunter22 aws-s3cret {encoded} p%40ss/word p@ss/word")
    assert hidden == "*** *** *** *** ***"


def test_ordinary_text_is_left_alone() -> None:
    text = "expected data.horizon_months to be at least 1, found 0; see models:/icp@champion, a@b.example"
    assert without_secrets(text) == text


def test_the_address_at_hand_is_hidden_in_any_spelling() -> None:
    address = "http://ann:a%2Fb-c@host/?token=query-t0ken"
    hidden = without_secrets("a/b-c a%2Fb-c query-t0ken", address)
    assert hidden == "*** *** ***"


def test_no_error_of_ours_carries_a_secret() -> None:
    error = ConfigError("found http://ann:s3cret@host", address="http://ann:s3cret@host", count=3)
    assert "s3cret" not in f"{error} {error.facts}"
    assert error.count == 3

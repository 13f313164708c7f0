"""Where content may rest: which addresses of a store a list of places allows, and which places are none."""

from __future__ import annotations

import pytest

from satchel.catalog.residence import MAX_PLACES, allows, check_places
from satchel.errors import InvalidInput


@pytest.mark.parametrize(
    ("place", "store"),
    [
        ("s3:", "s3://acme-eu?endpoint=https://minio.example:9000"),
        ("s3://acme-eu", "s3://acme-eu"),
        ("s3://acme-eu", "s3://acme-eu/satchel?region=eu-west-1&path_style=false"),
        ("s3://acme-eu/satchel/", "s3://acme-eu/satchel/one"),
        ("s3://acme-eu?region=eu-west-1", "s3://acme-eu?region=eu-west-1"),
        ("s3:?region=eu-west-1", "s3://any-bucket?region=eu-west-1"),
        ("s3://b?endpoint=https://minio.example/", "s3://b?endpoint=https://minio.example"),
        ("az://account", "az://account/container/prefix"),
        ("file:", "file:///srv/anything"),
        ("file:///srv/eu", "file:///srv/eu/store"),
        ("file:///srv/eu%20west", "file://localhost/srv/eu west"),
    ],
)
def test_a_place_allows_what_lies_in_it(place: str, store: str) -> None:
    check_places([place])
    assert allows([place], store)
    assert allows(["gs://elsewhere", place], store)


@pytest.mark.parametrize(
    ("place", "store"),
    [
        ("s3://acme", "s3://acme-elsewhere"),
        ("s3://acme/eu", "s3://acme/eu-not"),
        ("s3://acme/eu", "s3://acme"),
        ("s3://acme", "gs://acme"),
        ("s3://acme", "s3://acme?endpoint=https://minio.example"),
        ("s3://acme?endpoint=https://minio.example", "s3://acme"),
        ("s3://acme?region=eu-west-1", "s3://acme"),
        ("s3://acme?region=eu-west-1", "s3://acme?region=us-east-1"),
        ("file:///srv/eu", "file:///srv/europe"),
        ("file:///srv/eu", "file:///srv"),
        ("memory:", "file:///srv"),
        ("az://account/one", "az://account/two"),
    ],
)
def test_a_place_allows_nothing_that_only_looks_like_it(place: str, store: str) -> None:
    check_places([place])
    assert not allows([place], store)


def test_no_place_at_all_is_every_place() -> None:
    assert allows([], "s3://anywhere")


@pytest.mark.parametrize(
    "place",
    [
        "",
        "acme",
        "https://acme.example",
        "s3:///prefix-without-a-bucket",
        "s3://key:secret@acme",
        "s3://acme?profile=work",
        "s3://acme#part",
        "s3://acme/../other",
        "file:///srv/../etc",
        "s3://acme\n",
        "s3://" + "a" * 600,
        "s3://[",
    ],
)
def test_what_is_no_place_is_named(place: str) -> None:
    with pytest.raises(InvalidInput, match="allowedStorage"):
        check_places(["s3://fine", place])


def test_places_are_kept_once_each_and_are_few() -> None:
    assert check_places(["s3:", "gs:", "s3:"]) == ("s3:", "gs:")
    with pytest.raises(InvalidInput, match="at most 32"):
        check_places(f"s3://bucket-{number}" for number in range(MAX_PLACES + 1))

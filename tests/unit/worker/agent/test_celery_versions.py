"""Tests that the installed Celery, kombu and redis-py are among the versions with which the queue reader was tested."""

from __future__ import annotations

from importlib.metadata import version

import pytest

from tools.package_versions import SUITES, version_at

CELERY = SUITES["celery"]


@pytest.mark.parametrize("package", CELERY.packages)
def test_the_installed_version_is_one_that_was_tested(package: str) -> None:
    requirement, installed = CELERY.allowed()[package], version(package)
    assert requirement.specifier.contains(installed), (
        f"{package} {installed} is installed, and the queue reader (worker/agent) was tested with {requirement.specifier} only: it changes "
        f"parts of {package} that may be different there. Install a tested version, or widen the range in pyproject.toml and run "
        "`make test-celery-versions`"
    )


@pytest.mark.parametrize("package", CELERY.packages)
def test_the_range_has_two_ends_that_can_be_installed(package: str) -> None:
    ends = [version_at(end, CELERY.allowed()[package]) for end in CELERY.ends]
    assert ends == sorted(ends, key=lambda text: [int(part) for part in text.split(".")])

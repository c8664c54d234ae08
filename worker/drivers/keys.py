"""Says what to do when a service refuses the key or the password of a driver."""

from __future__ import annotations


def about_key(variable: str, *, given: bool, in_address: bool = False, what: str = "key") -> str:
    """Return a sentence about the key of a driver.

    Args:
        variable: The variable of the worker's environment that holds it.
        given: Whether the variable is set.
        in_address: Whether the address of the service has one, which counts if the variable is not set.
        what: What the service calls it.
    """
    if given:
        return f"The {what} in {variable} of the worker's environment is not the right one"
    if in_address:
        return f"The {what} in `service.address` is not the right one"
    return f"There is no {what} in {variable} of the worker's environment"

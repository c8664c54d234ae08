"""Contains one driver for each protocol that a service under load may speak."""

"""All lies of a server to a client, by name; each module tells those of its subject."""

from tests.hostile import lies, lies_in_bytes, lies_of_consent, lies_of_permissions

MODULES = (lies, lies_in_bytes, lies_of_consent, lies_of_permissions)
EVERY_LIE = lies.LIES
"""Filled as those modules are loaded, in their order."""

"""The version of stepbus, and that of its hooks.

Example:
    >>> HOOKS_VERSION, __version__
    (2, '0.1.0')
"""

__version__ = "0.1.0"

# A plugin may say `requires_hooks = N`. The number grows when a hook or an argument goes; one that comes breaks nobody.
HOOKS_VERSION = 2

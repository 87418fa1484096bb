"""The consortium's rules. One module per contract; ``registry`` is the only one that knows all.

An action is a frozen dataclass: ``parse`` makes it of untrusted arguments, ``apply`` runs it.
Who may call it stands in one table, ``authority``. Every check of an action comes before its
first write, and a refused action is undone as a whole by ``ledger.execution`` besides.
"""

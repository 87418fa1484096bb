"""PBFT on one height at a time, without I/O: ``Replica.step(event) -> Effects``.

- ``messages``: what replicas sign and send, and the one place where it is verified.
- ``events`` and ``effects``: the whole interface of the core.
- ``votes``: counting votes, bounded per signer.
- ``view_change``: what a NEW-VIEW must propose; pure functions that every replica recomputes.
- ``replica``: the automaton. ``nodes/driver.py`` makes its effects durable, signs and sends.
"""

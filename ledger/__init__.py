"""The pure core of Yilian: everything here can be checked offline by anyone.

No socket, file, clock, thread, randomness, environment or log call. Nothing is re-exported, so
that a light client loads only what it verifies with. Read in this order:

- ``primitives``, ``codec``, ``crypto``: values, their one encoding, hashing and signatures.
- ``types``: transaction, block, certificate, membership, genesis.
- ``merkle``, ``commitment``: what makes an answer provable.
- ``contract_api``, ``state``, ``execution``: one block in, one state root out.
- ``consensus``: agreement on the next block, as ``step(event) -> Effects``.
- ``light``: what a resident's phone checks.
"""

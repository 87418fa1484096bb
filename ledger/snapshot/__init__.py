"""The state at one certified height, fetched from peers of whom none is trusted.

- ``messages``: what is asked and answered
- ``check``: what follows from the state root of one certified header, and what is refused
- ``plan``: which part is asked of whom, and what becomes of those who lie or stay silent
"""

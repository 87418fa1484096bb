"""What a judge says when something must not be."""


class Violation(Exception):
    """A property of the protocol does not hold; the first argument is its id."""

    def __init__(self, property_id: str, what: str) -> None:
        self.property_id = property_id
        super().__init__(f"{property_id}: {what}")

"""The intervals of hosted batches, in one object that tests scale."""

from attrs import evolve, frozen


@frozen
class HostedIntervals:
    """
    Times of a run with hosted batches, in seconds.

    Attributes:
        fill: Time after its first row at which a batch is submitted, full or not.
        poll: Time between two looks at the list of batches, at first.
        max_poll: Longest time between two looks; each is 1.5 times the one before.
        search: Time between two searches for a batch whose submission was not
            answered.
        search_for: Time after which such a batch is submitted again.
        absent_for: Time for which the list must lack a batch, in at least five looks,
            before it is taken as gone.
    """

    fill: float = 60.0
    poll: float = 15.0
    max_poll: float = 300.0
    search: float = 30.0
    search_for: float = 300.0
    absent_for: float = 600.0

    def scaled(self, factor: float) -> "HostedIntervals":
        """Return these intervals, each multiplied by a factor."""
        return evolve(
            self,
            fill=self.fill * factor,
            poll=self.poll * factor,
            max_poll=self.max_poll * factor,
            search=self.search * factor,
            search_for=self.search_for * factor,
            absent_for=self.absent_for * factor,
        )

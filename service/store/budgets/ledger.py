"""The changes of one transaction to budgets: reservations, extensions, settlements. No I/O.

A reservation is settled once, because its row is deleted with it. A crash between the two leaves
the row, and the process that ends the run settles it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from service.store.budgets.records import (
    Balance,
    BudgetDemand,
    BudgetGrant,
    BudgetKey,
    BudgetShortage,
    BudgetState,
    BudgetUnit,
    Interruption,
    Reservation,
)


class Ledger:
    """Budgets and reservations, as loaded and locked by a transaction.

    `changed` are the budgets to write, `held` the reservations by run, `settled` the runs whose
    reservations are to be deleted.
    """

    def __init__(
        self, balances: Mapping[BudgetKey, Balance], held: Iterable[Reservation] = ()
    ) -> None:
        self.balances = dict(balances)
        self.held: dict[str, list[Reservation]] = {}
        self.changed: set[BudgetKey] = set()
        self.created: list[Reservation] = []
        self.settled: list[str] = []
        for each in held:
            self.held.setdefault(each.run_id, []).append(each)

    def reserve(
        self, run_id: str, demands: Sequence[BudgetDemand]
    ) -> BudgetGrant | BudgetShortage | None:
        """Reserve all `demands` of a run, or none when one is short; None without demands.

        A run that has its reservation already, because its transaction is repeated, keeps it.
        """
        if not demands:
            return None
        if run_id not in self.held:
            shortage = self._find_shortage((each, each.amount) for each in demands)
            if shortage:
                return shortage
            self.held[run_id] = [
                Reservation(run_id, each.key, each.amount, each.steps) for each in demands
            ]
            self.created += self.held[run_id]
            for each in demands:
                self._change(each.key).reserved += each.amount
        return BudgetGrant([self._get_state(each) for each in demands])

    def extend(
        self, run_id: str, demands: Sequence[BudgetDemand], more: Mapping[BudgetUnit, int]
    ) -> BudgetShortage | None:
        """Add to all reservations of a run, or to none when a budget is short.

        `demands` are those of its opening. Raises KeyError when the run has no reservation.
        """
        held = {each.key: each for each in self.held[run_id]}
        wanted = [(each, more[each.key.unit]) for each in demands if more.get(each.key.unit)]
        shortage = self._find_shortage(wanted)
        if shortage is None:
            for demand, amount in wanted:
                held[demand.key].amount += amount
                self._change(demand.key).reserved += amount
        return shortage

    def settle(
        self,
        run_id: str,
        spent: Mapping[BudgetUnit, int],
        interruption: Interruption | None = None,
    ) -> None:
        """Book what a run has spent, and release the rest; does nothing after the first time.

        After an interruption the agents without a report are charged with their worst case.
        """
        for each in self.held.pop(run_id, ()):
            unknown = _charge_unknown(each, interruption) if interruption else 0
            balance = self._change(each.key)
            balance.reserved -= each.amount
            balance.spent += spent.get(each.key.unit, 0) + unknown
            if run_id not in self.settled:
                self.settled.append(run_id)

    def _find_shortage(self, wanted: Iterable[tuple[BudgetDemand, int]]) -> BudgetShortage | None:
        for demand, amount in wanted:
            state = self._get_state(demand)
            if state.spent + state.reserved + amount > state.limit:
                return BudgetShortage(state, amount)
        return None

    def _get_state(self, demand: BudgetDemand) -> BudgetState:
        balance = self.balances.get(demand.key, Balance())
        return BudgetState(
            key=demand.key,
            limit=demand.limit,
            period_end=demand.period_end,
            spent=balance.spent,
            reserved=balance.reserved,
        )

    def _change(self, key: BudgetKey) -> Balance:
        self.changed.add(key)
        return self.balances.setdefault(key, Balance())


def _charge_unknown(reservation: Reservation, interruption: Interruption) -> int:
    """Return the worst case of the calls whose real amount is not known."""
    unknown = sum(_list_unknown(reservation, interruption))
    return unknown + reservation.extension if unknown else 0


def _list_unknown(reservation: Reservation, interruption: Interruption) -> Iterator[int]:
    """Yield the worst cases of calls that may have been made.

    A step starts when all agents of the step before have ended: none after it was started. Of an
    agent with calls in several steps, the report is that of the first.
    """
    reported = set(interruption.reported)
    for step in reservation.steps:
        missing = [amount for agent, amount in step.items() if agent not in reported]
        yield from missing
        if missing and interruption.is_complete:
            return
        reported -= set(step)

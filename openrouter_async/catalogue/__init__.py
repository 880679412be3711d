"""Lookups around calls: their tokens and cost, and records of generations."""

from ..protocol.budget import BudgetStats
from ..protocol.usage_snapshot import UsageSnapshot, UsageTotals
from ..types.generation import Generation
from .usage import ClientUsage

__all__ = [
    "BudgetStats",
    "ClientUsage",
    "Generation",
    "UsageSnapshot",
    "UsageTotals",
]

"""The registry of claims: one entry per claim that the ledger (``bso_lib.claims``) judges."""

from bso_lib.registry.accuracy import CLAIMS, CODE_CHOICES, OUR_METHODS, Claim, accuracy_id, table3_id, table4_id

__all__ = ["CLAIMS", "CODE_CHOICES", "OUR_METHODS", "Claim", "accuracy_id", "table3_id", "table4_id"]

"""The registry of claims: one entry per claim that the ledger (``bso_lib.claims``) judges.

    claim       what a claim is
    accuracy    of methods, time steps and settings; on images, events and spoken words
    theory      weights and gradients, flips and regret
    costs       bytes and seconds
    code        what the published code does otherwise

Where a claim has a number, it is read from the paper's tables (``bso_lib.paper``).
"""

from bso_lib.registry import accuracy, code, costs, theory
from bso_lib.registry.accuracy import OUR_METHODS, accuracy_id, table3_id, table4_id
from bso_lib.registry.claim import Claim
from bso_lib.registry.code import CODE_CHOICES

__all__ = ["CLAIMS", "CODE_CHOICES", "OUR_METHODS", "Claim", "accuracy_id", "table3_id", "table4_id"]

CLAIMS = {
    claim.id: claim
    for group in (
        accuracy.comparisons,
        theory.latent_weights,
        theory.gradients,
        accuracy.sensitivity,
        theory.flips,
        accuracy.events,
        costs.memory,
        theory.regret,
        code.choices,
        costs.sizes,
        accuracy.phases,
        accuracy.accuracies,
        costs.efficiency,
        accuracy.speech,
    )
    for claim in group()
}

"""The registry: every claim that the ledger (``bso_lib.companion.ledger``) judges, by its id, in the ledger's order.

Where a claim has a number, it is read from the paper's tables (``bso_lib.companion.paper``).
"""

from bso_lib.companion import accuracy_claims as accuracy
from bso_lib.companion import cost_claims as costs
from bso_lib.companion import table_claims as tables
from bso_lib.companion import theory_claims as theory

_GROUPS = (
    tables.from_tables, accuracy.comparisons, theory.latent_weights, theory.gradients, accuracy.sensitivity,
    theory.flips, accuracy.events, costs.memory, theory.regret, theory.guarantees, accuracy.code_choices, costs.sizes,
    accuracy.phases, accuracy.accuracies, accuracy.rivals, costs.efficiency, accuracy.speech,
)  # fmt: skip
CLAIMS = {claim.id: claim for group in _GROUPS for claim in group()}

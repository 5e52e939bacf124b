"""What the notebooks call besides the experiments: one look for all figures, the paper's numbers, and the ledger.

paper       the published numbers (published/*.csv)
claim       what a claim of the paper is
accuracy_claims, theory_claims, cost_claims    every claim that is judged
registry    all of them by their id
figures     one look, and where each number comes from
ledger      a verdict on each claim
gallery     all figures of a profile, with captions.csv, and the whole ledger on one page
"""

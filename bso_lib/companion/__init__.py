"""What the notebooks call besides the experiments: one look for all figures, the paper's numbers, and the ledger.

paper       the published numbers (published/*.csv)
claim       what a claim is and by which rule it is judged
accuracy_claims, theory_claims, cost_claims    every claim that is judged
table_claims    claims that the paper's own tables decide
registry    all of them by their id
statistics  intervals over seeds, Holm's levels, the seeds that would decide
scale       whether a run has all the paper's settings
questions   what is asked of runs: a difference, a range, a quantity of each seed
verdicts    the rows of what seeds decide
row         a row of the ledger
figures     one look, and where each number comes from
ledger      a verdict on each claim, of the paper and of the companion apart
source      the library's own lines under their equation
games       means, inequalities and rates of the games of bso_lib.regret
runs_behind from a row of the ledger to its runs
gallery     all figures of a profile, with captions.csv, and the whole ledger on one page
interactive    figures that move, as self-contained pages of HTML and JavaScript (moving/)
stills      the pictures beside them
"""

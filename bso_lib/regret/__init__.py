"""Theorem 4.1 put to the test in online games: regret against its bounds, and what holds instead.

problems           online problems whose best fixed vertex is known
counterexamples    one fixed convex loss that no rule without a coin gets right
random_threshold   BSO with a coin: an optimizer
learners           BSO and T-BSO as online learners, and their rivals
play               regret against the paper's bounds and against one that holds, and fitted slopes
guarantees         the bounds that hold for i.i.d. and for linear losses
network_study      the random threshold and the tracking term in a small network
"""

"""Theorem 4.1 put to the test: regret against its bounds, in online games and of a network.

    problems    online problems whose best fixed vertex is known
    learners    BSO and T-BSO as online learners, and their rivals
    play        regret against the paper's bounds, and fitted slopes
    network     the regret of a network in training

Of these, each imports only from those above it.
"""

"""Theorem 4.1 put to the test in online games: regret against its bounds.

problems    online problems whose best fixed vertex is known
learners    BSO and T-BSO as online learners, and their rivals
play        regret against the paper's bounds, and fitted slopes
"""

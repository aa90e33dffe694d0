"""For people who write plugins: try a search without a language model, and test your own parts.

worlds        simulated tasks
orders        executors that answer in any order, or in simulated time
witness       counts of what was really done
conformance   checks of your own executors and strategies
strategies    values for property tests (needs Hypothesis)
"""

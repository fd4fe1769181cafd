"""How much may be spent: budgets of money and tokens per window, exact over all processes.

The counters live in the database alone. Each process holds short leases of credit per window, so that a call is
let through without asking the database; what it really cost is booked with its usage row.
"""

"""What runs reached and what it cost: tables, comparisons, records."""

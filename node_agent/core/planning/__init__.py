"""The planning of rows and thresholds: rounds of offers and reports, and central planning."""

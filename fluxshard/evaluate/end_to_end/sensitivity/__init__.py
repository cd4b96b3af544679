"""The paper's Table V: budgets of calibration and how they are shared, replayed."""

"""Optuna's TPE, suggestion for suggestion, on arrays that are kept between asks, not made of all trials each time."""

"""Forecast the time, disk space and dollars of each stage of a run, before it starts.

`work` says how many photos reach each stage, and what the stage does with them; `trial` runs the
stages on a few photos, `calibration` finds out from trials how fast this machine is, and `forecast`
what a run takes on one of the `clusters`. `job` is behind jobs/plan.py.
"""

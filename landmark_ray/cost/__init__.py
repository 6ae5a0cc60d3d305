"""What a run will cost before it starts: the time, disk space and dollars of each stage.

`volumes` says how many photos reach each stage, `work` what each stage does with them, `trial_run`
and `calibration` how long this machine takes for it, and `forecast` what a cluster takes.
"""

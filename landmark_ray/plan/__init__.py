"""What a run will cost, before it: hours, disk, requests and dollars of each stage.

`workload` is what there is to do, by train.csv; `calibration` runs the pipeline on a few of the
photos, twice; `fit` turns the two runs' times into a fixed part and a rate; `forecast` is what all
of the workload takes on a cluster of `clusters.toml`.
"""

"""One Trainer, four stages: what each stage signals, and how the weighted loss is minimised.

Submodules are imported by name, so that `weighted_mtp.training.config` stays light enough for the command line.
"""
